"""Conda packages over HTTP: as little as will do, held to what the channel lists, and cached for one server alone."""

import bz2
import hashlib
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from channels import LONG_AGO, CondaChannel, distribution
from conda_archives import STEM, index_json, info, tar, tar_bz2, zipped, zst, zst_bomb
from msgspec.structs import replace
from servers import Answer, WebServer

from quarantine.adapters.conda_channel import CondaChannelPackages
from quarantine.errors import IntegrityError, UpstreamError
from quarantine.io.http import HttpClient
from quarantine.model import CondaRecord, Digest, Ecosystem, Package, parse_name, parse_version
from quarantine.policy.files import Mode
from quarantine.policy.stage import Upstream
from quarantine.ports import CondaContents

APP = parse_name("app")
NOISE = random.Random(1).randbytes(300_000)  # noqa: S311  # filler that doesn't compress, the same every time

LARGE = {"lib/large": random.Random(2).randbytes(3_100_000)}  # noqa: S311


def quiet(_: str) -> None:
    """Nobody is told."""


def package(name: str, version: str) -> Package:
    return Package(parse_name(name), parse_version(version))


@dataclass(kw_only=True)
class Shop:
    """A channel, what it lists, and adapters over it that share a cache."""

    channel: CondaChannel
    cache: Path
    clients: list[HttpClient] = field(default_factory=list)

    @property
    def upstream(self) -> Upstream:
        return Upstream(name="main", type=Ecosystem.CONDA, url=self.channel.url, mode=Mode.OPEN)

    def add(
        self,
        name: str = "app",
        files: Mapping[str, bytes] | None = None,
        *,
        kind: str = ".conda",
        subdir: str = "noarch",
        uploaded: datetime | None = LONG_AGO,
    ) -> CondaRecord:
        """A package, and what the channel lists for it."""
        self.channel.add(name, "1.0", files=files, kind=kind, subdir=subdir, uploaded=uploaded)
        return self.record(f"{name}-1.0-0{kind}", subdir)

    def write(self, data: bytes, filename: str = "app-1.0-0.conda") -> CondaRecord:
        """A file of these bytes, and what the channel lists for it."""
        (self.channel.folder / "noarch" / filename).write_bytes(data)
        return self.record(filename, "noarch")

    def record(self, filename: str, subdir: str) -> CondaRecord:
        data = (self.channel.folder / subdir / filename).read_bytes()
        return CondaRecord(
            upstream="main",
            subdir=subdir,
            name=filename.rsplit("-", 2)[0],
            version="1.0",
            build="0",
            filename=filename,
            url=f"{self.channel.url}/{subdir}/{filename}",
            sha256=Digest.sha256(hashlib.sha256(data).hexdigest()),
            size=len(data),
        )

    def always(self, record: CondaRecord, answer: Answer) -> None:
        """What the server answers for a package from now on."""
        self.channel.server.always(record.url.removeprefix(self.channel.server.origin), answer)

    def script(self, record: CondaRecord, *answers: Answer) -> None:
        """The server's next answers for a package."""
        self.channel.server.script(record.url.removeprefix(self.channel.server.origin), *answers)

    def part(self, record: CondaRecord, start: int, end: int) -> Answer:
        """A range of a package."""
        data = self.data(record)
        place = f"bytes {start}-{end - 1}/{len(data)}"
        return Answer(status=206, headers={"Content-Range": place}, body=data[start:end])

    def data(self, record: CondaRecord) -> bytes:
        return (self.channel.folder / record.subdir / record.filename).read_bytes()

    def packages(
        self,
        *upstreams: Upstream,
        offline: bool = False,
        logins: Mapping[str, tuple[str, str]] | None = None,
        timeout: float = 5,
    ) -> CondaChannelPackages:
        used = upstreams or (self.upstream,)
        http = HttpClient(
            allowed=[upstream.url for upstream in used if upstream.url is not None],
            user_agent="tests",
            timeout_seconds=timeout,
            retries=0,
        )
        self.clients.append(http)
        return CondaChannelPackages(
            upstreams=[Upstream(name="pypi", type=Ecosystem.PYPI, url=None, mode=Mode.OPEN), *used],
            http=lambda: http,
            cache_dir=self.cache,
            logins=logins or {},
            offline=offline,
        )

    def contents(self, record: CondaRecord) -> CondaContents:
        """What is inside, read anew."""
        return self.packages().contents([record], quiet)[record]

    def why(self, record: CondaRecord) -> str:
        """Why its file list can't be read."""
        found = self.contents(record)
        assert found.distributions is None
        return found.why

    def failure(self, record: CondaRecord, **settings: float) -> str:
        with pytest.raises(UpstreamError) as caught:
            self.packages(**settings).contents([record], quiet)  # type: ignore[arg-type]  # a time-out is all there is
        return str(caught.value)

    def spent(self) -> int:
        """How many bytes of files were asked for; all of a file where no range was."""
        total = 0
        for asked in self.channel.server.asked:
            size = (self.channel.folder / asked.path.removeprefix("/channel/")).stat().st_size
            first, _, last = asked.headers.get("Range", f"bytes=0-{size - 1}").removeprefix("bytes=").partition("-")
            total += min(int(last), size - 1) - int(first) + 1
        return total


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with CondaChannel(folder=tmp_path / "channel") as channel:
        opened = Shop(channel=channel, cache=tmp_path / "cache")
        yield opened
        for client in opened.clients:
            client.close()


EGG = {"site-packages/old-0.9-py3.8.egg-info": b"Name: old\nVersion: 0.9\n"}
ARCH = "lib/python3.11/site-packages"

HELD = {
    "noarch": ("noarch", distribution("app", "1.0"), (package("app", "1.0"),)),
    "arch": ("linux-64", distribution("app", "1.0", where=ARCH) | {"lib/x.so": b"\x7fELF"}, (package("app", "1.0"),)),
    "windows": ("win-64", distribution("app", "1.0", where="Lib/site-packages"), (package("app", "1.0"),)),
    "egg": ("noarch", EGG, (package("old", "0.9"),)),
    "several": (
        "noarch",
        distribution("app", "1.0") | distribution("ruamel.yaml", "0.17") | EGG,
        (package("app", "1.0"), package("old", "0.9"), package("ruamel-yaml", "0.17")),
    ),
    "another name": ("noarch", distribution("requests", "2.19.0"), (package("requests", "2.19.0"),)),
    "native": ("linux-64", {"lib/libssl.so.3": b"\x7fELF"}, ()),
    "empty": ("noarch", {}, ()),
}


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
@pytest.mark.parametrize("case", HELD)
def test_a_package_says_what_it_holds(shop: Shop, case: str, kind: str) -> None:
    """By its file list, whatever it is called; and its server says since when. A small one costs one request."""
    subdir, files, expected = HELD[case]
    record = shop.add(files=files, kind=kind, subdir=subdir)
    assert shop.contents(record) == CondaContents(distributions=expected, last_modified=LONG_AGO)
    assert len(shop.channel.server.asked) == 1


def test_many_packages_cost_one_request_each_and_are_told(shop: Shop) -> None:
    """The answer has every record once, in the order that they were asked for."""
    records = [shop.add(f"p{n}", distribution(f"d{n}", "1.0")) for n in range(30)]
    told: list[str] = []
    found = shop.packages().contents([*records, records[0]], told.append)
    assert {record: contents.distributions for record, contents in found.items()} == {
        record: (package(f"d{n}", "1.0"),) for n, record in enumerate(records)
    }
    assert (list(found), len(shop.channel.server.asked)) == (records, 30)
    assert told == [f"reading conda packages: {n} of 30" for n in range(1, 31)]


def test_a_large_package_is_not_downloaded(shop: Shop) -> None:
    """Its first and its last block are."""
    record = shop.add(files=distribution("app", "1.0") | LARGE)
    assert shop.contents(record).distributions == (package("app", "1.0"),)
    assert len(shop.channel.server.asked) <= 3
    assert shop.spent() <= 3 * 64 * 1024
    assert record.size is not None
    assert record.size > 3_000_000


def test_an_old_package_is_read_and_held_to_its_digest(shop: Shop) -> None:
    """All of it, however large, since a second list could come at its end, and whether or not a size is listed."""
    record = shop.write(tar_bz2(info(*distribution("app", "1.0")) | LARGE), "app-1.0-0.tar.bz2")
    assert shop.contents(record).distributions == (package("app", "1.0"),)
    assert shop.spent() == record.size
    swapped = replace(record, sha256=Digest.sha256("0" * 64), size=None)
    assert record.sha256 is not None
    assert shop.why(swapped) == f"{record.filename}: its sha256 is {record.sha256.hex}, the channel lists {'0' * 64}"
    more = shop.write(shop.data(record) + bytes(2_000_000), "app-1.0-0.tar.bz2")
    assert shop.why(replace(more, sha256=Digest.sha256("0" * 64))).startswith(f"{record.filename}: its sha256 is ")


def test_an_old_package_with_a_second_list_is_unreadable(shop: Shop) -> None:
    """It says native first, and something else to whoever unpacks it."""
    files = distribution("requests", "2.19.0")
    second = [("info/paths.json", info(*files)["info/paths.json"])]
    data = bz2.compress(tar([*info("lib/x").items(), ("lib/x", NOISE), *files.items(), *second]))
    assert shop.why(shop.write(data, "app-1.0-0.tar.bz2")) == "app-1.0-0.tar.bz2: it has info/paths.json twice"


@pytest.mark.parametrize("noise", [b"", NOISE])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_package_whose_pkg_member_comes_last_is_read_whole(shop: Shop, noise: bytes, *, ranges: bool) -> None:
    """As programs of before 2023 wrote them: a list in that member would count, and there must be none."""

    def write(name: str, more: dict[str, bytes]) -> CondaRecord:
        stem = f"{name}-1.0-0"
        listed = info("lib/x") | {"info/index.json": index_json(name)}
        pkg = zst(tar({"lib/x": noise, "info/licenses/x": b""} | more))
        data = zipped(
            ("metadata.json", b"{}"), (f"info-{stem}.tar.zst", zst(tar(listed))), (f"pkg-{stem}.tar.zst", pkg)
        )
        record = shop.write(data, f"{stem}.conda")
        if not ranges:
            shop.always(record, Answer(body=data))
        return record

    assert shop.contents(write("good", {})).distributions == ()
    assert len(shop.channel.server.asked) <= (4 if ranges else 1)
    evil = distribution("requests", "2.19.0")
    assert shop.why(write("bad", evil | {"info/paths.json": info(*evil)["info/paths.json"]})) == (
        "bad-1.0-0.conda: its pkg member has info/paths.json, which belongs into its info member"
    )


def test_modules_that_no_distribution_names_are_unknown(shop: Shop) -> None:
    """A package of modules alone isn't native, and isn't cached as one."""
    record = shop.add(files={"site-packages/requests/__init__.py": b""})
    assert shop.contents(record) == CondaContents(
        distributions=None,
        last_modified=LONG_AGO,
        why="app-1.0-0.conda: it has Python modules and no distribution to know them by",
    )
    assert list((shop.cache / "conda-contents-2").iterdir()) == []


def test_a_file_list_that_is_larger_than_a_block_comes_at_once(shop: Shop) -> None:
    """Thousands of paths that don't compress."""
    paths = {f"share/{random.Random(n).randbytes(40).hex()}": b"" for n in range(1500)}  # noqa: S311
    record = shop.add(files=distribution("app", "1.0") | paths | {"lib/noise": NOISE})
    assert shop.contents(record).distributions == (package("app", "1.0"),)
    assert len(shop.channel.server.asked) <= 4


def test_a_server_without_ranges_gives_the_same_answer(shop: Shop) -> None:
    """The whole file is read, and held to its digest."""
    record = shop.add(files=distribution("app", "1.0") | {"lib/noise": NOISE})
    data = shop.data(record)
    shop.always(record, Answer(body=data, headers={"Last-Modified": "Wed, 15 Jan 2025 00:00:00 GMT"}))
    assert shop.contents(record) == CondaContents(distributions=(package("app", "1.0"),), last_modified=LONG_AGO)
    changed = data[:70_000] + bytes([data[70_000] ^ 1]) + data[70_001:]
    shop.always(record, Answer(body=changed))
    other = replace(record, url=f"{record.url}?again")
    shop.always(other, Answer(body=changed))
    assert "the channel lists" in shop.why(other)


@pytest.mark.parametrize(
    "header", [None, "", "yesterday", "Wed, 15 Jan 2025 00:00:00", "Wed, 99 Jan 2025 00:00:00 GMT"]
)
def test_a_server_that_does_not_say_when_it_got_a_file(shop: Shop, header: str | None) -> None:
    """Missing, unreadable or without a zone: then nobody knows."""
    record = shop.add(files=distribution("app", "1.0"), uploaded=None)
    if header is not None:
        shop.always(record, Answer(body=shop.data(record), headers={"Last-Modified": header}))
    assert shop.contents(record) == CondaContents(distributions=(package("app", "1.0"),), last_modified=None)


# --- what can't be read -----------------------------------------------------------------------------------------------


def test_a_package_that_says_it_is_another_is_unreadable(shop: Shop) -> None:
    """Of name, version and build."""
    record = replace(shop.add(), version="1.1")
    assert shop.contents(record) == CondaContents(
        distributions=None,
        last_modified=LONG_AGO,
        why="app-1.0-0.conda: info/index.json says it is 'app' '1.0' '0', the channel lists it as 'app' '1.1' '0'",
    )


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
@pytest.mark.parametrize("noise", [b"", NOISE])
def test_a_truncated_file_is_unreadable(shop: Shop, kind: str, noise: bytes) -> None:
    """The server's size and the listed one disagree."""
    record = shop.add(files={"lib/noise": noise}, kind=kind)
    data = shop.data(record)
    shop.write(data[:-100], record.filename)
    why = f"{record.filename}: it has {len(data) - 100} bytes, the channel lists {len(data)}"
    assert shop.contents(record) == CondaContents(distributions=None, last_modified=LONG_AGO, why=why)


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
@pytest.mark.parametrize("sized", [True, False])
def test_a_swapped_file_is_unreadable(shop: Shop, kind: str, *, sized: bool) -> None:
    """All of a small file comes, so its digest is known, whether or not its size was."""
    record = shop.add(files=distribution("app", "1.0"), kind=kind)
    assert record.sha256 is not None
    lies = replace(record, sha256=Digest.sha256("0" * 64), size=record.size if sized else None)
    why = f"{record.filename}: its sha256 is {record.sha256.hex}, the channel lists {'0' * 64}"
    assert shop.why(lies) == why


@pytest.mark.parametrize("data", [b"", b"\0" * 1000, b"PK" * 50_000])
@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
def test_bytes_that_are_no_package_are_unreadable(shop: Shop, kind: str, data: bytes) -> None:
    """Why is said, and the rest of the packages is read."""
    good, bad = shop.add("good"), shop.write(data, f"app-1.0-0{kind}")
    found = shop.packages().contents([bad, good], quiet)
    assert (found[bad].distributions, found[good].distributions) == (None, ())
    assert found[bad].why.startswith(f"app-1.0-0{kind}: ")


def test_a_bomb_is_unreadable(shop: Shop) -> None:
    """Gigabytes of zeros in a file list."""
    info_member = zst_bomb(tar(info())[:1024], 4096)
    data = zipped(("metadata.json", b""), (f"pkg-{STEM}.tar.zst", b""), (f"info-{STEM}.tar.zst", info_member))
    assert shop.why(shop.write(data)).startswith("app-1.0-0.conda: ")


@pytest.mark.parametrize("status", [403, 404, 410])
@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
def test_a_package_that_its_channel_does_not_give_out_is_unreadable(shop: Shop, kind: str, status: int) -> None:
    """The channel lists what it doesn't have."""
    record = shop.add(kind=kind)
    shop.always(record, Answer(status=status))
    assert shop.contents(record) == CondaContents(
        distributions=None, why=f"app-1.0-0{kind}: main lists it, and answers {status}"
    )


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "its server doesn't say how large it is ('')"),
        ({"Content-Range": "bytes 0-99/*"}, "its server doesn't say how large it is ('bytes 0-99/*')"),
        ({"Content-Range": "bytes 0-99/100"}, "it has 100 bytes, the channel lists {size}"),
        (
            {"Content-Range": "bytes 5-99/{size}"},
            "its server gave 'bytes 5-99/{size}' for a range from 0 to 65535",
        ),
        ({"Content-Range": "bytes 0-{last}/{size}"}, "100 bytes came for a range of {size}"),
    ],
)
def test_an_answer_that_is_not_the_range_asked_for_makes_the_package_unreadable(
    shop: Shop, said: dict[str, str], why: str
) -> None:
    """Sizes and places must fit together."""
    record = shop.add()
    assert record.size is not None
    words = {"size": record.size, "last": record.size - 1}
    headers = {name: value.format(**words) for name, value in said.items()}
    shop.always(record, Answer(status=206, headers=headers, body=bytes(100)))
    assert shop.why(record) == f"app-1.0-0.conda: {why.format(**words)}"


def test_a_package_elsewhere_is_not_asked_for(shop: Shop) -> None:
    """A channel can list any address, also of a cloud's metadata service; and a record can name any channel."""
    record = shop.add()
    with WebServer() as other:
        records = {
            replace(record, url=f"{other.origin}/app-1.0-0.conda"): f"main lists it on {other.origin}, "
            "which is not the channel's own host",
            replace(record, url="http://169.254.169.254/app-1.0-0.conda"): "main lists it on http://169.254.169.254, "
            "which is not the channel's own host",
            replace(record, url="file:///etc/passwd"): "a URL with the scheme 'file': only http and https are followed",
            replace(record, upstream="pypi"): "pypi is no configured channel",
            replace(record, filename="app-1.0-0.whl"): "neither a .conda nor a .tar.bz2 file",
        }
        found = shop.packages().contents(list(records), quiet)
        assert {contents.why.partition(": ")[2] for contents in found.values()} == set(records.values())
        assert {contents.distributions for contents in found.values()} == {None}
        with pytest.raises(UpstreamError, match="pypi is no configured channel"):
            shop.packages().metadata(replace(record, upstream="pypi"), [APP], quiet)
        assert (other.asked, shop.channel.server.asked) == ([], [])


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "main answered 401 for app-1.0-0.conda: its credentials are missing or wrong"),
        (500, "main answered 500 for app-1.0-0.conda"),
        (400, "main answered 400 for app-1.0-0.conda"),
        (503, "{url} answered 503"),
    ],
)
def test_a_channel_that_fails_is_an_error(shop: Shop, status: int, message: str) -> None:
    """It says nothing about the package."""
    record = shop.add()
    shop.always(record, Answer(status=status))
    assert shop.failure(record) == message.format(url=record.url)


def test_a_channel_that_is_silent_or_gone_is_an_error(shop: Shop) -> None:
    """Neither time-outs nor closed doors make a package unreadable."""
    record = shop.add()
    shop.always(record, Answer(hang=True))
    assert shop.failure(record, timeout=0.2) == f"{record.url}: silent for 0.2 s"
    with WebServer() as gone:
        origin = gone.origin
    nowhere = Upstream(name="main", type=Ecosystem.CONDA, url=origin, mode=Mode.OPEN)
    with pytest.raises(UpstreamError) as caught:
        shop.packages(nowhere).contents([replace(record, url=f"{origin}/x")], quiet)
    assert str(caught.value) == f"{origin}: no connection (Connection refused)"


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
def test_an_answer_that_breaks_off_is_an_error(shop: Shop, kind: str) -> None:
    """The connection failed, not the package."""
    record = shop.add(kind=kind, files={"lib/noise": NOISE})
    data = shop.data(record)
    shop.always(record, Answer(body=data, cut=100, headers={"Content-Length": str(len(data))}))
    assert shop.failure(record) == f"{record.url}: the connection broke off"


@pytest.mark.parametrize("answer", [Answer(status=404), Answer(body=bytes(65536)), Answer(status=206, body=b"x")])
def test_a_server_that_gives_one_range_and_not_the_next_is_an_error(shop: Shop, answer: Answer) -> None:
    """It broke its protocol, which says nothing about the package."""
    record = shop.add(files=LARGE)
    shop.script(record, shop.part(record, 0, 65536), answer)
    assert shop.failure(record) == (
        f"{record.url} answered {answer.status}: expected another range of its {record.size} bytes"
    )


def test_a_server_that_changes_its_mind_is_an_error(shop: Shop) -> None:
    """The same for the large range that metadata is read from."""
    record = shop.add(files=FILES | LARGE)
    size = len(shop.data(record))
    ends = (shop.part(record, 0, 65536), shop.part(record, size - 65536, size))
    shop.script(record, *ends, Answer(body=shop.data(record)))
    with pytest.raises(UpstreamError) as caught:
        shop.packages().metadata(record, [APP], quiet)
    assert str(caught.value) == "app-1.0-0.conda: its server changed its mind about ranges or its size"


def test_a_redirect_to_another_host_is_refused(shop: Shop) -> None:
    """A channel may keep its files with a public host, by https; it sends nobody to another."""
    record = shop.add()
    with WebServer() as other:
        shop.always(record, Answer(status=302, headers={"Location": f"{other.origin}/app"}))
        said = shop.failure(record)
        assert said == f"{other.origin} is no configured upstream: a request to it is refused"
        assert other.asked == []


def test_a_login_is_sent_to_its_own_channel_alone(shop: Shop, tmp_path: Path) -> None:
    """By upstream name."""
    record = shop.add()
    with CondaChannel(folder=tmp_path / "other") as channel:
        other = Shop(channel=channel, cache=shop.cache)
        theirs = replace(other.add("lib"), upstream="other")
        upstream = Upstream(name="other", type=Ecosystem.CONDA, url=channel.url, mode=Mode.OPEN)
        packages = shop.packages(shop.upstream, upstream, logins={"main": ("me", "s3cr3t-canary")})
        packages.contents([record, theirs], quiet)
        assert [asked.headers.get("Authorization") for asked in shop.channel.server.asked] == [
            "Basic bWU6czNjcjN0LWNhbmFyeQ=="
        ]
        assert [asked.headers.get("Authorization") for asked in channel.server.asked] == [None]


# --- cache ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("uploaded", [LONG_AGO, None, datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)])
def test_what_was_read_is_not_asked_for_again(shop: Shop, uploaded: datetime | None) -> None:
    """Distributions and time, also offline."""
    files = distribution("app", "1.0+cu118") | distribution("lib", "2.0rc1")
    record = shop.add(files=files, uploaded=uploaded)
    expected = CondaContents(
        distributions=(package("app", "1.0+cu118"), package("lib", "2.0rc1")), last_modified=uploaded
    )
    assert shop.contents(record) == expected
    shop.channel.server.asked.clear()
    assert shop.contents(record) == expected
    assert shop.packages(offline=True).contents([record], quiet) == {record: expected}
    assert shop.channel.server.asked == []


def test_a_damaged_cache_entry_is_none(shop: Shop) -> None:
    """Whatever lies there, the package is read again."""
    record = shop.add(files=distribution("app", "1.0"))
    expected = shop.contents(record)
    (entry,) = (shop.cache / "conda-contents-2").iterdir()
    good = entry.read_bytes()
    for bad in (b"", b"\xff", good[:-1], good.replace(b"1.0", b"bad"), good.replace(b"app", b"a p")):
        entry.write_bytes(bad)
        shop.channel.server.asked.clear()
        assert (shop.contents(record), len(shop.channel.server.asked)) == (expected, 1)
        assert entry.read_bytes() == good


def test_what_one_server_said_does_not_count_for_another(shop: Shop, tmp_path: Path) -> None:
    """A channel that lists a digest of somebody else's package can't say what is in that."""
    honest = shop.add(files=distribution("requests", "2.19.0") | {"lib/noise": NOISE})
    with CondaChannel(folder=tmp_path / "evil") as channel:
        evil = Shop(channel=channel, cache=shop.cache)
        listed = evil.add(files=distribution("harmless", "1.0") | {"lib/noise": NOISE})
        lie = replace(listed, sha256=honest.sha256)
        assert evil.contents(lie).distributions == (package("harmless", "1.0"),)
    assert shop.contents(honest).distributions == (package("requests", "2.19.0"),)


@pytest.mark.parametrize("change", ["sha256", "version"])
def test_what_is_listed_otherwise_is_read_again(shop: Shop, change: str) -> None:
    """The cache knows a package as it was listed."""
    record = shop.add(files=distribution("app", "1.0"))
    shop.contents(record)
    other = replace(record, sha256=None) if change == "sha256" else replace(record, version="2.0")
    assert (shop.contents(other).distributions is None) == (change == "version")
    assert len(shop.channel.server.asked) == 2


def test_neither_the_unreadable_nor_what_has_no_digest_is_cached(shop: Shop) -> None:
    """They are asked for each time."""
    records = [replace(shop.add(), sha256=None), shop.write(b"x", "bad-1.0-0.conda")]
    for _ in range(2):
        shop.packages().contents(records, quiet)
    assert len(shop.channel.server.asked) == 4
    assert list((shop.cache / "conda-contents-2").iterdir()) == []


def test_offline_nothing_is_guessed(shop: Shop) -> None:
    """What is not in the cache is counted and named; nothing is asked."""
    known, first, second = shop.add("known"), shop.add("one"), shop.add("two")
    shop.contents(known)
    shop.channel.server.asked.clear()
    packages = shop.packages(offline=True)
    with pytest.raises(UpstreamError) as caught:
        packages.contents([known, first, second], quiet)
    assert str(caught.value) == (
        "offline: the file lists of 2 conda packages are not in the cache (one-1.0-0.conda, two-1.0-0.conda): "
        "check once without --offline"
    )
    with pytest.raises(UpstreamError) as caught:
        packages.metadata(known, [APP], quiet)
    assert str(caught.value) == (
        "offline: the metadata of 1 distributions in known-1.0-0.conda is not in the cache: check once without --offline"
    )
    assert shop.channel.server.asked == []


# --- metadata ---------------------------------------------------------------------------------------------------------

FILES = distribution("app", "1.0", ["lib>=2"]) | distribution("lib", "2.0") | EGG
METADATA = FILES["site-packages/app-1.0.dist-info/METADATA"]


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
def test_metadata_is_read_from_the_package_once(shop: Shop, kind: str) -> None:
    """Of those that are asked for; the second time from the cache, also offline."""
    record = shop.add(files=FILES, kind=kind)
    old = parse_name("old")
    expected = {"app": METADATA, "old": b"Name: old\nVersion: 0.9\n"}
    told: list[str] = []
    assert shop.packages().metadata(record, [APP, old], told.append) == expected
    asked = len(shop.channel.server.asked)
    assert shop.packages(offline=True).metadata(record, [APP, old], told.append) == expected
    assert (asked, len(shop.channel.server.asked), told) == (1, 1, [f"reading metadata in {record.filename}"])


def test_metadata_of_a_large_package_costs_its_beginning(shop: Shop) -> None:
    """The pkg member comes as a range of its own, and is left when the metadata was found."""
    record = shop.add(files=FILES | LARGE)
    assert shop.packages().metadata(record, [APP], quiet) == {"app": METADATA}
    ranges = [asked.headers.get("Range") for asked in shop.channel.server.asked]
    assert None not in ranges
    assert ranges[0] == "bytes=0-65535"
    assert len(ranges) <= 4


def test_metadata_from_a_server_without_ranges(shop: Shop) -> None:
    """The whole file is read."""
    record = shop.add(files=FILES | {"lib/noise": NOISE})
    shop.always(record, Answer(body=shop.data(record)))
    assert shop.packages().metadata(record, [APP], quiet) == {"app": METADATA}


@pytest.mark.parametrize("kind", [".conda", ".tar.bz2"])
def test_metadata_of_a_file_with_another_digest_is_an_error(shop: Shop, kind: str) -> None:
    """Where all of it came, it is held to what the channel lists; nothing of it is kept."""
    record = shop.add(files=FILES, kind=kind)
    lies = replace(record, sha256=Digest.sha256("0" * 64))
    with pytest.raises(IntegrityError, match="the channel lists 0000"):
        shop.packages().metadata(lies, [APP], quiet)
    assert list((shop.cache / "conda-metadata-2").iterdir()) == []


def test_metadata_that_can_not_be_had_is_an_error(shop: Shop) -> None:
    """A distribution that isn't in it, or a package that isn't there."""
    record = shop.add(files=FILES)
    with pytest.raises(IntegrityError) as broken:
        shop.packages().metadata(record, [APP, parse_name("nobody")], quiet)
    assert str(broken.value) == "app-1.0-0.conda: it has no metadata of nobody"
    shop.always(record, Answer(status=404))
    with pytest.raises(UpstreamError) as gone:
        shop.packages().metadata(record, [APP], quiet)
    assert str(gone.value) == "app-1.0-0.conda: main lists it, and answers 404"


def test_the_client_is_made_only_when_something_is_asked(shop: Shop) -> None:
    """A check of what is cached needs none."""
    record = shop.add()
    expected = shop.contents(record)

    def none() -> HttpClient:
        raise AssertionError

    packages = CondaChannelPackages(upstreams=[shop.upstream], http=none, cache_dir=shop.cache, logins={})
    assert packages.contents([record], quiet) == {record: expected}
    assert packages.contents([], quiet) == {}
