FROM a
RUN
RUN --mount=type=cache,target=/x
