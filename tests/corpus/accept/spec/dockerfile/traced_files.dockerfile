FROM python:3.11 AS base
COPY a.txt .
RUN pip install -r a.txt
WORKDIR /job
COPY a.txt b.txt reqs/
COPY one.txt two.txt
COPY sub /opt/sub
COPY c*.txt ["d.txt", "/tmp/"]
RUN pip install -r reqs/a.txt -c reqs/b.txt -r two.txt -r /opt/sub/deep/e.txt
FROM base AS child
RUN cd /opt/sub && pip install -r deep/e.txt && cd - && pip install -r reqs/a.txt
RUN cd reqs; pip install -r ../two.txt
RUN --mount=type=bind,source=sub,target=/mnt --mount=type=bind,target=/ctx pip install -r /mnt/deep/e.txt -r /ctx/one.txt
RUN --mount=type=bind,from=base,source=/job/two.txt,target=/two.txt pip install -r /two.txt
RUN echo evil >> reqs/a.txt
RUN pip install -r reqs/a.txt
RUN cp one.txt /tmp/x && mv /opt/sub /opt/sub2 && pip install -r /opt/sub/deep/e.txt -r two.txt
COPY app /app
COPY lib /app
RUN pip install -r /app/requirements.txt
COPY ../../outside.txt /etc/outside.txt
RUN pip install -r /etc/outside.txt -r $HOME/r.txt -r missing.txt -r /dev/stdin
COPY --from=other.example.org/files /r /r
RUN pip install -r /r/requirements.txt
ADD bundle.tar.gz /bundle
RUN pip install -r /bundle/requirements.txt
COPY --exclude=*.md . /excluded/
RUN pip install -r /excluded/r.txt
COPY include.txt /deploy/
RUN pip install -r /deploy/include.txt
