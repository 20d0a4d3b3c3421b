FROM python:3.11
RUN pip install \
  a==1 \

  # c
  b==2
