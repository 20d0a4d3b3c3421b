FROM a
RUN pip install 'a --hash=sha256:00' 'b # c'
