FROM a
RUN pip install --require-hashes a==1
