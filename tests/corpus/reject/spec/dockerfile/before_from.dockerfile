RUN pip install x
ENV A=1
FROM python:3.11
