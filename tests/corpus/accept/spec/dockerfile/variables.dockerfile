ARG REGISTRY=registry.example.org
ARG TAG
FROM ${REGISTRY}/base:${TAG:-1.0}
FROM $REGISTRY/$TEAM/base
FROM base:${TARGETARCH}
ARG REGISTRY
ARG NUMPY=1.26.4 TORCH
ENV PANDAS=2.2.2 \
    BOTH="scipy==1.13.0 networkx==3.3"
ENV LITERAL='$PANDAS' ESCAPED=\$PANDAS
RUN pip install numpy==$NUMPY pandas==${PANDAS} $BOTH torch==${TORCH:-2.3.0} \
    "$BOTH_OF" jax==$TORCH scikit-learn${SKLEARN:+==$SKLEARN}
RUN VERSION=1.0; pip install a==$VERSION && VERSION=2.0 && pip install b==$VERSION; pip install c==$VERSION
RUN false || VERSION=3.0; pip install d==$VERSION
RUN VERSION=4.0 bash -c 'pip install e==$VERSION' && export VERSION=5.0 && bash -c "pip install f==$VERSION" && bash -c 'pip install g==$VERSION'
RUN LOCAL=1; bash -c 'pip install h==${LOCAL}'
RUN V=$(cat version.txt) && pip install i==$V
RUN pip install j==${PANDAS%.*} k==$((1+1)) m==1 || true
ARG PANDAS=1.0
RUN pip install l==$PANDAS
