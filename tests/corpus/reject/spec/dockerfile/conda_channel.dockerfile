FROM a
RUN conda install -c 'not a channel' numpy
