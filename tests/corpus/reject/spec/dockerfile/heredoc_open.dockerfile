FROM a
RUN <<EOF
pip install x
