FROM a
RUN true
ENV X
