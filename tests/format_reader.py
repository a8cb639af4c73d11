#!/usr/bin/env python3
"""Reads a Milvault repository on a local disk, by docs/format.md alone: it shares no code with Milvault.

    format_reader.py list     <repository>                    backups, one a line
    format_reader.py show     <repository> <backup id>        a manifest as JSON
    format_reader.py check    <repository> <backup id>        every checksum, index and content hash
    format_reader.py extract  <repository> <backup id> <dir>  the same, and the files below <dir>
    format_reader.py file     <framed file>                   its frames as JSON
"""
import io
import json
import pathlib
import sys

from blake3 import blake3

# Magic: the kinds of frames that a file may have before its closing frame.
FILES = {b"MILVMANI": {1, 2, 3, 4}, b"MILVPLAN": {1, 2, 4, 5}, b"MILVHASH": {6}}


class Damage(Exception):
    """Something is not as the format says."""


def need(condition, what):
    if not condition:
        raise Damage(what)


# postcard: a type is a function that reads a value from a stream.
def take(stream, count):
    data = stream.read(count)
    need(len(data) == count, "a payload ends too early")
    return data


def unsigned(bits):
    def read(stream):
        value = shift = 0
        while True:
            byte = take(stream, 1)[0]
            value |= (byte & 127) << shift
            need(value < 1 << bits and shift < bits, "a number is too large")
            if byte < 128:
                return value
            shift += 7
    return read


def enum(**variants):
    def read(stream):
        number = u32(stream)
        need(number < len(variants), f"an enum has no variant {number}")
        name, of = list(variants.items())[number]
        return {name: of(stream)} if of else name
    return read


u32, u64 = unsigned(32), unsigned(64)
i32 = i64 = lambda stream: (lambda zigzag: zigzag >> 1 ^ -(zigzag & 1))(u64(stream))
boolean = lambda stream: unsigned(1)(stream) == 1
fixed = lambda count: lambda stream: take(stream, count).hex()
counted = lambda stream: take(stream, u64(stream))
text = lambda stream: counted(stream).decode("utf-8")
many = lambda of: lambda stream: [of(stream) for _ in range(u64(stream))]
option = lambda of: lambda stream: of(stream) if boolean(stream) else None
row = lambda *types: lambda stream: [of(stream) for of in types]
struct = lambda **fields: lambda stream: {name: of(stream) for name, of in fields.items()}
little = lambda data: int.from_bytes(data, "little")

properties = many(row(text, text))
names = many(text)
identity = dict(object_id=fixed(16), kind=enum(insert_log=None, delta_log=None), collection=i64, partition=i64,
                segment=i64, field=i64, log=i64, size=u64, fingerprint=enum(tag=text, changed=i64))
planned = many(struct(**identity))
header = struct(
    backup_id=fixed(16), cluster_id=fixed(16), cluster_name=text, project_id=fixed(16), name=text, description=text,
    scope=enum(cluster=None, databases=names, collections=many(row(text, text))),
    creation_method=enum(manual=None, auto=None), created_by=text, created_at=i64, expires_at=option(i64), source=text,
    copied_from=option(row(fixed(16), fixed(16))), cut=i64, milvus_version=text,
    capabilities=struct(verified=boolean, databases=boolean, gc_pause=boolean, l0_segments=boolean,
                        import_end_timestamp=enum(milliseconds=None, hybrid=None)),
    access_control=option(struct(users=names, roles=many(row(text, names)), grants=many(row(*[text] * 6)))),
    databases=many(struct(name=text, properties=properties)), collection_frames=u32)
field = struct(field_id=i64, name=text, description=text, data_type=text, element_type=text, type_parameters=properties,
               primary_key=boolean, auto_id=boolean, partition_key=boolean, dynamic=boolean, nullable=boolean)
collection = struct(
    database=u32, collection_id=i64, name=text, description=text, shards=i32, consistency_level=i32,
    schema=lambda stream: counted(stream).hex(), fields=many(field), dynamic_field=boolean, properties=properties,
    partitions=many(row(i64, text)), indexes=many(struct(name=text, field_name=text, parameters=properties)),
    aliases=names, load_state=enum(not_loaded=None, loading=None, loaded=None), replicas=u32,
    segments=many(row(i64, i64, u64)))
objects = many(struct(**identity, location=enum(pack=row(fixed(16), u64), own_file=None), encoding=enum(raw=None),
                      stored_length=u64, content_hash=option(fixed(32)), store_tag=option(text)))
unit = enum(pack=row(fixed(16), planned), server_side=planned)
index = many(struct(object_id=fixed(16), offset=u64, length=u64, encoding=enum(raw=None), hash=fixed(32)))
FRAMES = {1: header, 2: collection, 3: many(row(fixed(16), u64)), 4: objects, 5: unit,
          6: row(fixed(16), many(row(fixed(16), fixed(32)))), 255: row(u64, u64, fixed(32))}


def decode(of, data):
    value = of(stream := io.BytesIO(data))
    need(stream.tell() == len(data), "a payload is not used up")
    return value


def framed(data):
    """The (kind, payload) of each frame but the closing one."""
    need(data[:8] in FILES and blake3(data[:12]).digest()[:4] == data[12:16], "the head is damaged")
    need(little(data[8:12]) == 1, "the version is not 1")
    frames, count, at = [], 0, 16
    while True:
        end = at + 5 + little(data[at + 1:at + 5])
        need(end - at - 5 <= 32 << 20 and end + 16 <= len(data), "a frame is cut off or too long")
        need(blake3(data[at:end]).digest()[:16] == data[end:end + 16], "a frame's checksum is wrong")
        kind = data[at]
        need(kind in FILES[data[:8]] | {255}, f"a frame of kind {kind} cannot be here")
        payload = decode(FRAMES[kind], data[at + 5:end])
        if kind == 255:
            need(payload == [len(frames), count, blake3(data[:at]).hexdigest()], "the closing frame disagrees")
            need(end + 16 == len(data), "something follows the closing frame")
            break
        frames.append((kind, payload))
        # What the closing frame counts: objects, also those of units, and hashes.
        lists = {4: lambda: payload, 5: lambda: [*payload.values()][0], 6: lambda: payload[1]}.get(kind, list)()
        count, at = count + len(lists[1] if "pack" in payload else lists), end + 16
    if data[:8] != b"MILVHASH":
        kinds = [kind for kind, _ in frames]
        need(kinds[:1] == [1], "the header is missing")
        first = [1] + [2] * frames[0][1]["collection_frames"]
        need(kinds[:len(first)] == first, "the collections do not follow the header")
        need(not {1, 2} & set(kinds[len(first):]), "a second header, or too many collections")
    return frames


def key_of(o):
    field = [o["field"]] * (o["kind"] == "insert_log")
    return "/".join(map(str, [o["kind"], o["collection"], o["partition"], o["segment"], *field, o["log"]]))


def id_of(cluster, o):
    numbers = (o[name] for name in ("collection", "partition", "segment", "field", "log", "size"))
    (form, value), = o["fingerprint"].items()
    data = bytes.fromhex(cluster) + bytes([o["kind"] == "delta_log"])
    data += b"".join(number.to_bytes(8, "big", signed=True) for number in numbers)
    data += b"e" + value.encode() if form == "tag" else b"m" + value.to_bytes(8, "big", signed=True)
    return blake3(data, derive_key_context="milvault 2026 object id v1").hexdigest()[:32]


def pack_ids(object_ids):
    """The ids that a pack of these objects may have: after the first, each follows from the damaged pack before it."""
    pack = b""
    for _ in range(1000):
        pack = blake3(object_ids + pack, derive_key_context="milvault 2026 pack id v1").digest()[:16]
        yield pack.hex()


class Repository:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        need(json.loads(self.read("milvault.json"))["format_version"] == 1, "the repository's version is not 1")

    def read(self, *path):
        return self.root.joinpath(*path).read_bytes()

    def backups(self):
        sealed = (path.parent for path in self.root.glob("backups/bkp_*/manifest"))
        return sorted(backup.name for backup in sealed if not backup.joinpath("deleted.json").exists())

    def manifest(self, backup):
        need(backup in self.backups(), "there is no such backup")
        frames = framed(self.read("backups", backup, "manifest"))
        whole = {"header": frames[0][1], "collections": [payload for kind, payload in frames if kind == 2]}
        for name, kind in (("packs", 3), ("objects", 4)):
            whole[name] = [entry for found, payload in frames if found == kind for entry in payload]
        need("bkp_" + whole["header"]["backup_id"] == backup, "the manifest is another backup's")
        keys = [(o["kind"] == "delta_log", o["collection"], o["partition"], o["segment"], o["field"], o["log"])
                for o in whole["objects"]]
        need(all(one < next for one, next in zip(keys, keys[1:])), "the objects are not in the order of their keys")
        return whole

    def hashes(self, backup):
        known = {}
        for path in self.root.glob(f"backups/{backup}/hashes-*"):
            name, frames = path.name, framed(path.read_bytes())
            need(all(owner == backup[4:] for _, (owner, _) in frames), f"{name} is another backup's")
            pairs = sorted(pair for _, (_, pairs) in frames for pair in pairs)
            digest = blake3(bytes.fromhex("".join(o + h for o, h in pairs))).hexdigest()
            need(name == "hashes-" + digest[:16], f"{name} is not the hashes that its name says")
            need(all(known.setdefault(o, h) == h for o, h in pairs), f"{name} contradicts another file")
        return known

    def pack(self, pack, size):
        data = self.read("packs", pack[:2], pack)
        trailer, start = data[-64:], len(data) - 64 - little(data[-64:-56])
        need(len(data) == size and trailer[56:] == b"MILVPACK", f"pack {pack}: another size, or no trailer")
        need(blake3(trailer[:48]).digest()[:8] == trailer[48:56], f"pack {pack}: the trailer is damaged")
        need(little(trailer[40:44]) == 1 and start >= 0, f"pack {pack}: another version, or too long an index")
        need(blake3(data[start:-64]).digest() == trailer[8:40], f"pack {pack}: the index is damaged")
        entries, at = decode(index, data[start:-64]), 0
        for entry in entries:
            need(entry["offset"] == at, f"pack {pack}: a gap before an object")
            at += entry["length"]
        need(at == start and len(entries) == little(trailer[44:48]), f"pack {pack}: the index does not fit the file")
        ids = bytes.fromhex("".join(entry["object_id"] for entry in entries))
        need(pack in pack_ids(ids), f"pack {pack}: its objects give another id")
        return data, {entry["object_id"]: entry for entry in entries}

    def contents(self, backup):
        """Each object with its bytes and whether a hash was there to check them by. Each file is read once."""
        manifest, late = self.manifest(backup), self.hashes(backup)
        sizes, by_pack = dict(manifest["packs"]), {}
        for o in manifest["objects"]:
            need(id_of(manifest["header"]["cluster_id"], o) == o["object_id"], f"{key_of(o)}: another id")
            need(o["stored_length"] == o["size"], f"{key_of(o)}: it is not as long as at the source")
            by_pack.setdefault(None if o["location"] == "own_file" else o["location"]["pack"][0], []).append(o)
        need(set(by_pack) - {None} == set(sizes), "the packs listed are not those that the objects lie in")
        for pack, members in by_pack.items():
            data, entries = self.pack(pack, sizes[pack]) if pack else (b"", {})
            for o in members:
                hash = o["content_hash"] or late.get(o["object_id"])
                if pack:
                    at = o["location"]["pack"][1]
                    expected = dict(object_id=o["object_id"], offset=at, length=o["size"], encoding="raw", hash=hash)
                    need(entries.get(o["object_id"]) == expected, f"{key_of(o)}: its pack says otherwise")
                    content = data[at:at + o["size"]]
                else:
                    content = self.read("objects", o["object_id"][:2], o["object_id"])
                need(len(content) == o["size"], f"{key_of(o)}: another length")
                need(hash in (None, blake3(content).hexdigest()), f"{key_of(o)}: another content")
                yield o, content, hash is not None


def main(command, place, backup=None, target=None):
    if command == "file":
        return print(json.dumps(framed(pathlib.Path(place).read_bytes()), indent=1))
    repository = Repository(place)
    if command == "list":
        return print("".join(backup + "\n" for backup in repository.backups()), end="")
    if command == "show":
        return print(json.dumps(repository.manifest(backup), indent=1))
    count = size = unchecked = 0
    for o, content, checked in repository.contents(backup):
        count, size, unchecked = count + 1, size + len(content), unchecked + (not checked)
        if command == "extract":
            path = pathlib.Path(target, key_of(o))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    print(f"{count} objects, {size} bytes, {unchecked} without a hash")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (Damage, FileNotFoundError) as problem:
        sys.exit(f"damaged: {problem}")
