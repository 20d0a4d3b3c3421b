"""Dockerfiles as a whole: what the answer holds, which files are asked for, which images and variables there are."""

import hashlib
import time
from collections.abc import Mapping

import pytest

from quarantine.errors import SpecError
from quarantine.model import (
    Directive,
    EnvironmentSpec,
    ImageReference,
    Location,
    Needs,
    SourceFile,
    Unverifiable,
)
from quarantine.spec import dockerfile

HEX = "0123456789abcdef" * 4


def read(text: str, files: Mapping[str, bytes] | None = None, context: str = "") -> EnvironmentSpec:
    """The spec of a Dockerfile that needs no more files."""
    answer = dockerfile.read("Dockerfile", {"Dockerfile": text.encode(), **(files or {})}, context)
    assert isinstance(answer, EnvironmentSpec)
    return answer


def refused(text: str) -> str:
    """The message for a bad Dockerfile."""
    with pytest.raises(SpecError) as caught:
        dockerfile.read("Dockerfile", {"Dockerfile": text.encode()}, "")
    return str(caught.value)


def images(text: str) -> list[str]:
    """The images of a Dockerfile, as text."""
    return [str(image) for image in read(text).images]


def test_an_answer_holds_everything_with_its_line() -> None:
    """Images, directives, what can't be verified and the parts each know their line; the file itself is the first source."""
    data = (
        b"FROM --platform=linux/amd64 python:3.11 AS base\n"
        b"ENV PIP_INDEX_URL=https://me:canary@index.example.org/simple\n"
        b"RUN apt-get install -y curl\n"
        b"RUN pip install a==1\n"
    )
    answer = dockerfile.read("ctx/Dockerfile", {"ctx/Dockerfile": data}, "ctx")

    assert isinstance(answer, EnvironmentSpec)
    (part,) = answer.parts
    (requirement,) = part.requirements
    assert (part.file, part.format, str(requirement.name), requirement.location) == (
        "ctx/Dockerfile", "requirements", "a", Location(file="ctx/Dockerfile", line=4),
    )  # fmt: skip
    assert answer == EnvironmentSpec(
        file="ctx/Dockerfile",
        format="dockerfile",
        images=(
            ImageReference(
                host="docker.io",
                path="library/python",
                tag="3.11",
                platform="linux/amd64",
                role="FROM",
                location=Location(file="ctx/Dockerfile", line=1),
            ),
        ),
        directives=(
            Directive(
                option="PIP_INDEX_URL",
                text="PIP_INDEX_URL=https://index.example.org/simple",
                location=Location(file="ctx/Dockerfile", line=2),
            ),
        ),
        unverifiable=(
            Unverifiable(
                location=Location(file="ctx/Dockerfile", line=3),
                what="apt-get install -y curl",
                why="what the package manager installs is known only when it runs",
            ),
        ),
        parts=(part,),
        sources=(SourceFile(path="ctx/Dockerfile", sha256=hashlib.sha256(data).hexdigest()),),
    )


def test_files_are_asked_for_where_they_are_named() -> None:
    """Files of the context are asked for below it, each with the line that names it; then those that they include."""
    data = b"FROM a\nCOPY reqs/ /reqs/\nRUN pip install \\\n  -r /reqs/a.txt \\\n  -c /reqs/b.txt\nCOPY e.yml .\nRUN conda env create -f e.yml\n"
    files = {"docker/Dockerfile": data}

    first = dockerfile.read("docker/Dockerfile", files, "src/app")
    files |= {"src/app/reqs/a.txt": b"-r c.txt\n", "src/app/reqs/b.txt": b"b<1\n"}
    second = dockerfile.read("docker/Dockerfile", files, "src/app")
    files |= {"src/app/reqs/c.txt": b"c==1\n", "src/app/e.yml": b"dependencies: [d]\n"}
    third = dockerfile.read("docker/Dockerfile", files, "src/app")

    place = "docker/Dockerfile"
    assert first == Needs(
        ("src/app/reqs/a.txt", "src/app/reqs/b.txt", "src/app/e.yml"),
        wanted_by=(Location(file=place, line=4), Location(file=place, line=5), Location(file=place, line=7)),
    )
    assert second == Needs(
        ("src/app/reqs/c.txt", "src/app/e.yml"),
        wanted_by=(Location(file="src/app/reqs/a.txt", line=1), Location(file=place, line=7)),
    )
    assert isinstance(third, EnvironmentSpec)
    assert [source.path for source in third.sources] == [
        place, "src/app/reqs/a.txt", "src/app/reqs/b.txt", "src/app/reqs/c.txt", "src/app/e.yml",
    ]  # fmt: skip
    assert [(part.file, [str(r.name) for r in part.requirements]) for part in third.parts] == [
        (place, ["c"]), ("src/app/e.yml", []),
    ]  # fmt: skip


@pytest.mark.parametrize("source", ["../../etc/passwd", "/../x/../../etc/passwd", "./../..//etc/passwd"])
def test_no_source_leaves_the_context(source: str) -> None:
    """A COPY from above the context is one from its root, as Docker has it."""
    text = f"FROM a\nCOPY {source} /r.txt\nRUN pip install -r /r.txt\n"

    assert dockerfile.read("Dockerfile", {"Dockerfile": text.encode()}, "ctx") == Needs(
        ("ctx/etc/passwd",), wanted_by=(Location(file="Dockerfile", line=3),)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ARG B=evil\nFROM $B\n", ["docker.io/library/evil"]),
        ("ARG A=x\nARG B=$A:1\nFROM ${B}\n", ["docker.io/library/x:1"]),
        ("ARG B\nFROM ${B:-x}\n", ["docker.io/library/x"]),
        ("FROM ${B:-x}${C:+never}\n", ["docker.io/library/x"]),
        ("ARG B=\nFROM x${B}\n", ["docker.io/library/x"]),
        ("FROM a AS b\nFROM b\nFROM B AS c\nCOPY --from=b / /\nCOPY --from=C / /\n", ["docker.io/library/a"]),
        ("FROM scratch\nFROM scratch AS scratch\n", []),
        ("FROM b\nFROM x AS b\n", ["docker.io/library/b", "docker.io/library/x"]),
        (f"FROM h.example.org/a/b:1@sha256:{HEX}\n", [f"h.example.org/a/b:1@sha256:{HEX}"]),
        ("FROM a\nRUN --mount=from=b,target=/b --mount=type=cache,target=/c,from=c true\n",
         ["docker.io/library/a", "docker.io/library/b", "docker.io/library/c"]),
        ("from a as x\ncopy --from=x / /\ncopy --from=y / /\n", ["docker.io/library/a", "docker.io/library/y"]),
        ("FROM a\nARG B=evil\nFROM $B\n", ["docker.io/library/a"]),
    ],
)  # fmt: skip
def test_images_are_resolved(text: str, expected: list[str]) -> None:
    """Global ARGs have their defaults in FROM; the names and numbers of earlier stages are no images."""
    assert images(text) == expected


@pytest.mark.parametrize(
    ("text", "line", "what", "why"),
    [
        ("FROM $B\n", 1, "FROM $B", "nothing in the file says what $B is, so that its image is known only to the build"),
        ("FROM a\nARG B=b\nFROM a:${B}\n", 3, "FROM a:${B}",
         "nothing in the file says what $B is, so that its image is known only to the build"),
        ("FROM r/i:{{latest-image-tag}}\n", 1, "FROM r/i:{{latest-image-tag}}",
         "the placeholder {{latest-image-tag}} isn't filled in: name the image with its tag"),
        ("FROM a\nCOPY --from=$S x y\n", 2, "COPY --from=$S", "variables aren't replaced there: name a stage or an image"),
        ("FROM a\nCOPY --from=b x y\nFROM c AS b\n", 2, "COPY --from=b",
         "it names no earlier stage but a later one, or itself, of which builders make different things"),
        ("# syntax=evil/frontend\nFROM a\n", 1, "# syntax=evil/frontend",
         "another program than Docker's reads the file then: remove the line, or have the curators list its image"),
    ],
)  # fmt: skip
def test_images_that_only_a_build_knows(text: str, line: int, what: str, why: str) -> None:
    """An image that the file doesn't say is listed with its line."""
    assert read(text).unverifiable == (
        Unverifiable(location=Location(file="Dockerfile", line=line), what=what, why=why),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ARG V=1\nFROM a\nRUN pip install x==$V\n", None),
        ("ARG V=1\nFROM a\nARG V\nRUN pip install x==$V\n", "==1"),
        ("ARG V=1\nFROM a\nARG V=2\nRUN pip install x==$V\n", "==2"),
        ("FROM a\nARG V=1\nENV V=2\nRUN pip install x==$V\n", "==2"),
        ("FROM a\nENV V=2\nARG V\nRUN pip install x==$V\n", "==2"),
        ("FROM a\nENV V=2\nARG V=2\nRUN pip install x==$V\n", "==2"),
        ("FROM a\nENV V=2\nARG V=1\nRUN pip install x==$V\n", None),
        ("FROM a\nENV V=1 W=$V\nRUN pip install x==1$W\n", None),
        ("FROM a\nENV V=1\nENV V=2 W=$V\nRUN pip install x==1$W\n", "==11"),
        ("FROM a\nENV V 1 2\nRUN pip install x==${V%2}\n", None),
        ("FROM a AS b\nENV V=1\nENV W=2\nFROM b\nRUN pip install x==$V.$W\n", "==1.2"),
        ("FROM a AS b\nARG W=2\nFROM b\nRUN pip install x==${W:-3}\n", None),
        ("FROM a AS b\nARG W=2\nFROM b\nARG W\nRUN pip install x==${W:-3}\n", None),
        ("ARG W=2\nFROM a AS b\nARG W\nFROM b\nARG W\nRUN pip install x==$W\n", "==2"),
        ("FROM a\nARG V=1\nARG V\nRUN pip install x==${V:-2}\n", None),
        ("FROM a\nARG UID=1\nRUN pip install x==$UID\n", None),
        ("FROM a AS b\nENV V=1\nFROM a\nRUN pip install x==$V\n", None),
        ("FROM a\nARG TARGETARCH\nRUN pip install x==$TARGETARCH\n", None),
        ("FROM a\nARG V\nRUN pip install x==${V:-3}\n", "==3"),
        ("FROM a\nRUN pip install x==${V:-3}\n", None),
    ],
)
def test_variables_have_the_values_of_the_file(text: str, expected: str | None) -> None:
    """ARG and ENV count where they are declared; what a base image or a build may set isn't known."""
    answer = read(text)
    found = [str(requirement.specifier) for part in answer.parts for requirement in part.requirements]

    assert (found, len(answer.unverifiable)) == (([], 1) if expected is None else ([expected], 0))


def test_a_context_may_be_a_folder_of_its_own() -> None:
    """What a requirements file includes is looked for beside it in the context."""
    files = {"ctx/a/r.txt": b"-r ../b/s.txt\n", "ctx/b/s.txt": b"s==1\n"}
    answer = read("FROM a\nCOPY . /w/\nWORKDIR /w\nRUN pip install -r a/r.txt\n", files, "ctx")

    assert [str(r.location) for part in answer.parts for r in part.requirements] == ["ctx/b/s.txt:1"]
    assert answer.unverifiable == ()


def test_an_include_that_lies_elsewhere_in_the_image_is_listed() -> None:
    """An include is judged as the context has it, and listed where the image has another file at its place."""
    text = "FROM a\nCOPY a/r.txt /x/r.txt\nCOPY b/s.txt /x/s.txt\nRUN pip install -r /x/r.txt\n"
    answer = read(text, {"a/r.txt": b"-r s.txt\n", "a/s.txt": b"s==1\n", "b/s.txt": b"evil==1\n"})

    assert [(entry.what, entry.why) for entry in answer.unverifiable] == [
        (
            "pip install -r /x/r.txt",
            "a/r.txt includes a/s.txt, which can't be traced: another file stands there in the image",
        )
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a\n" + "ENV " + " ".join(f"V{i}=1" for i in range(1001)), "Dockerfile:2: more than 1000 variables"),
        ("FROM a\nCOPY " + "x " * 1001 + "/", "Dockerfile:2: more than 1000 files and folders to copy"),
        ("FROM a\nENV A='" + ("a " * 900 + "\\\n# b\n\n") * 19 + "'", "Dockerfile:2: an instruction of more than 32768 characters"),
        ("\n" * 20_001, "Dockerfile: 20001 lines: at most 20000 are read"),
        ("FROM a\n" + "# x\n" * 150_000, "Dockerfile: 600007 bytes: at most 524288 are read"),
        ("FROM a\nENV S='" + "a;" * 1900 + "'\nENV T='" + 'sh -c "$S";' * 99 + "'\nRUN sh -c \"$T\"\n",
         "Dockerfile:4: more than 10000 commands"),
    ],
)  # fmt: skip
def test_limits_are_told(text: str, message: str) -> None:
    """What no Dockerfile needs is refused with the limit."""
    assert refused(text) == message


def test_doubling_variables_end() -> None:
    """A variable that is doubled two hundred times isn't known, and costs nothing."""
    answer = read("FROM a\nENV A=x\n" + "ENV A=$A$A\n" * 200 + "RUN pip install $A\n")

    assert [(entry.what, entry.why) for entry in answer.unverifiable] == [("pip install ... $A", "$A isn't known")]


def test_a_file_that_every_line_reads_is_refused_in_the_end() -> None:
    """Reading one file again and again has an end."""
    text = "FROM a\nCOPY r.txt /\n" + "RUN pip install -r /r.txt\n" * 40
    with pytest.raises(SpecError) as caught:
        read(text, {"r.txt": b"# " + b"x" * 60_000 + b"\na==1\n"})

    assert str(caught.value) == "Dockerfile:38: r.txt is read again by too many lines"


@pytest.mark.parametrize(
    "text", ["${A:-" * 2000 + "}" * 2000, "${A:-\\\n" * 2000, "${A:-'}'" * 2000, '"${A:-\\}' * 2000]
)
def test_variables_within_each_other_without_end_are_refused_at_once(text: str) -> None:
    """The parser's time grows with the cube of their depth, so that it doesn't get to see them."""
    begun = time.perf_counter()

    assert refused(f"FROM a\nRUN echo {text}\n") == "Dockerfile:2: more than 32 variables within each other"
    assert time.perf_counter() - begun < 1.0


def test_a_variable_of_many_words_costs_little() -> None:
    """Its words aren't told apart where they are more than a line has, however many commands have it."""
    text = f"FROM a\nENV W='{'a ' * 2000}'\n" + f"RUN {'echo $W;' * 1000}\n" * 5
    begun = time.perf_counter()

    assert read(text).unverifiable == ()
    assert time.perf_counter() - begun < 3.0


def test_a_configuration_that_is_copied_is_reported_once() -> None:
    """Where it goes counts, and where that has no name, what it is called."""
    answer = read("FROM a\nCOPY pip.conf /etc/pip.conf\nCOPY pip.conf /etc/\n")

    assert [(found.location.line, found.text) for found in answer.directives] == [(2, "/etc/pip.conf"), (3, "pip.conf")]


@pytest.mark.parametrize(
    ("lines", "what", "why"),
    [
        ("ENV ${A:-B}=c\n", "ENV ${A:-B}=c", "which variable it sets isn't known"),
        ("ARG ${A:-B}=c\n", "ARG ${A:-B}=c", "which variable it sets isn't known"),
        ("ENV CDPATH=/b\n", "CDPATH=...", "CDPATH changes how shells read commands"),
        ("ENV BASH_FUNC_ls%%=x\n", "BASH_FUNC_ls%%=...", "BASH_FUNC_ls%% changes how shells read commands"),
        ("ARG URL\nADD $URL /tmp/\n", "ADD $URL /tmp/", "whether it adds a file or a download isn't known"),
        ("CMD pip install x\n", "CMD pip install x", "it installs when the container runs"),
        ('ENTRYPOINT ["uvx", "x"]\n', 'ENTRYPOINT ["uvx", "x"]', "it installs when the container runs"),
        ("RUN cat <<CMD\nRUN x\nCMD\n", "RUN cat <<CMD RUN x CMD",
         "a builder without here-documents takes its lines for instructions"),
        ("RUN cat <<'#'\nRUN x\n#\n", "RUN cat <<'#' RUN x #",
         "a builder without here-documents takes its lines for instructions"),
        ("RUN cat <<X\nRUN x \\\nX\n", "RUN cat <<X RUN x \\ X",
         "a builder without here-documents takes its lines for instructions"),
        ("FROM r/x:1@s3cr3t\n", "FROM ***", "behind '@' stands no digest"),
    ],
)  # fmt: skip
def test_what_two_builders_or_two_readers_may_take_differently_is_listed(lines: str, what: str, why: str) -> None:
    """What sets, adds or runs something that isn't known is unverifiable, whatever else it may be."""
    answer = read(f"FROM a\n{lines}")

    assert [(entry.what, entry.why) for entry in answer.unverifiable] == [(what, why)]
