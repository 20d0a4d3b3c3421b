FROMM python:3.11
FROM python:3.11
RUNN pip install x
INSTALL x
