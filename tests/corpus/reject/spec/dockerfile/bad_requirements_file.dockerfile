FROM a
COPY r.txt /
RUN pip install -r /r.txt
