FROM a
RUN --mont=type=bind pip install x
