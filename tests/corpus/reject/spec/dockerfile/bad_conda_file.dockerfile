FROM a
COPY e.yml /
RUN conda env create -f /e.yml
