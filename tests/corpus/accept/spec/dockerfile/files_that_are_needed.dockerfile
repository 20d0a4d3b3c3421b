FROM python:3.11
COPY requirements.txt env.yml /x/
RUN pip install -r /x/requirements.txt
RUN conda env create -f /x/env.yml
