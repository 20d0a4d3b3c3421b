FROM a
RUN conda install 'numpy bad spec!!' 'pip[x]' \
  scipy==
