FROM python:3.11
ARG PIP_INDEX_URL=https://u:canary@index.example.org/simple
ENV PIP_EXTRA_INDEX_URL=https://canary@index.example.org/simple UV_INDEX_URL=https://x.example.org CONDA_CHANNELS=evil \
    PIP_NO_CACHE_DIR=1 UV_LINK_MODE=copy PIP_TRUSTED_HOST=$HOST
ENV BASH_ENV=/run.sh
COPY pip.conf /etc/pip.conf
COPY condarc /root/.condarc
ADD https://u:canary@files.example.org/model.bin?sig=canary /models/
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://files.example.org/x.tgz /tmp/
ADD git@git.example.org:x/y.git /src
RUN echo "[global]" > /etc/pip.conf && printf 'index-url=x' | tee -a ~/.config/pip/pip.conf
RUN --mount=type=secret,id=pip,target=/etc/pip.conf pip install a==1
RUN export UV_DEFAULT_INDEX=https://y.example.org && uv pip install --system --index https://z.example.org b==1
RUN conda config --prepend channels https://conda.example.org/t/canary/x && conda install --insecure c=1
