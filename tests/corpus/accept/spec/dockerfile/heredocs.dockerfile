FROM debian:12
RUN <<EOF
set -eux
apt-get update
apt-get install -y python3-pip
python3 -m pip install \
    flask==3.0.3
EOF
RUN <<-'SH' bash -e
	pip install gunicorn==22.0.0
	SH
COPY <<EOF /opt/requirements.txt
uvloop==0.19.0
httptools
EOF
COPY <<"CONDA" /opt/environment.yml
channels: [conda-forge]
dependencies:
  - python=3.11
  - pip:
    - rich==13.7.1
CONDA
RUN pip install -r /opt/requirements.txt && conda env create -f /opt/environment.yml
RUN cat > /tmp/more.txt <<EOF && pip install -r /tmp/more.txt
orjson==3.10.6
EOF
RUN cat <<EOF > /tmp/other.txt
numpy==$(curl https://canary.example.org)
EOF
RUN pip install -r /tmp/other.txt
RUN <<EOF
#!/usr/bin/env python3
print("hello")
EOF
RUN python3 <<EOF
import this
EOF
