FROM a
RUN pip install --upgrade
