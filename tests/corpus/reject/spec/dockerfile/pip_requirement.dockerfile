FROM a
RUN pip install \
  a=1 \
  'b ==> 2' 'https://me:canary@x y'
