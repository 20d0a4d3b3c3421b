FROM a
RUN pip install Keras==1
