"""Artifacts: versions, collections with their aliases, manifests and files; made by wandb-core's mutations.

    artifact     id, state PENDING → COMMITTED (or DELETED), digest, metadata, tags, its manifests' ids, its files
    collection   "entity/project/name": ArtifactSequence (where versions are born) or ArtifactPortfolio (linked into);
                 members [artifact ids] (the place is the version number) and aliases {alias: place}
    manifest     id, artifact, base,
    type (a shared artifact has a PATCH of each writer); its content lies in Contents under "manifest/<id>"
    content      "object/<entity>/<hex digest>": a file's bytes, once per digest; W&B's own sharing

Invariants: a version gets its number, and "latest" moves, at commit and never before; the same digest committed before
in the same collection is the same version; writers with one distributedID write one artifact; an INCREMENTAL
manifest is read with its base under it.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import Any

from .files import Contents
from .graphql import GraphQLError, Node
from .runs import Runs, node_id
from .store import Doc


def hex_digest(digest: str) -> str:
    """A base64 digest as the hexadecimal that download paths use."""
    try:
        return base64.b64decode(digest, validate=True).hex()
    except ValueError:
        return digest


class Artifacts:
    """The versions of the store; collections changes what holds them, artifact_graph shows them as nodes."""

    def __init__(self, runs: Runs, contents: Contents):
        self.runs = runs
        self.store = runs.store
        self.contents = contents

    # finding

    def get(self, opaque: str) -> Doc:
        """The artifact by id or client id. Raises GraphQLError(404)."""
        doc = self.store.get("artifact", opaque or "") or self.store.get("artifact", self.server_id(opaque) or "")
        if doc is None:
            raise GraphQLError("artifact not found", 404)
        return doc

    def server_id(self, client_id: str) -> str | None:
        """ClientIDMapping: the artifact that was created with this client id."""
        found = self.store.get("client_id", client_id or "")
        return str(found["id"]) if found else None

    def collection(self, entity: str | None, project: str | None, name: str) -> Doc | None:
        """The collection, if there is one."""
        return self.store.get("collection", self.runs.key(entity, project, name))

    def place(self, collection: Doc, alias: str) -> int | None:
        """The version number that an alias, "v3", a digest or an id names in the collection."""
        if alias in collection["aliases"]:
            return int(collection["aliases"][alias])
        if alias.startswith("v") and alias[1:].isdigit() and int(alias[1:]) < len(collection["members"]):
            return int(alias[1:])
        for number, member in enumerate(collection["members"]):
            if alias in (member, (self.store.get("artifact", member) or {}).get("digest")):
                return number
        return None

    def at(self, collection: Doc, alias: str) -> Doc | None:
        """The artifact that an alias names in the collection."""
        place = self.place(collection, alias)
        return None if place is None else self.store.get("artifact", collection["members"][place])

    # mutations: a version's way from CreateArtifact to CommitArtifact

    def create(self, given: Node) -> tuple[Doc, Doc | None]:
        """CreateArtifact: (artifact, the collection's latest before). Same digest in it: the version there is."""
        with self.store.change():
            names = given.get("artifactCollectionNames") or [given.get("artifactCollectionName")]
            key = self.runs.key(given.get("entityName"), given.get("projectName"), names[0])
            sequence = self._sequence(key, given)
            latest = self.at(sequence, "latest")
            shared = f"{key}#{given['distributedID']}" if given.get("distributedID") else ""
            if shared:
                doc = self.store.get("artifact", self.server_id(shared) or "")
                doc = doc if doc and doc["state"] == "PENDING" else None
            else:
                doc = self._same(sequence, given["digest"]) if given.get("enableDigestDeduplication") else None
            if doc is None:
                entity, project, name = key.split("/")
                opaque = node_id("Artifact", uuid.uuid4().hex)
                doc = {
                    "id": opaque, "entity": entity, "project": project, "collection": key, "name": name,
                    "type": given["artifactTypeName"], "state": "PENDING", "digest": given["digest"],
                    "description": given.get("description"), "metadata": given.get("metadata") or "{}", "tags": [],
                    "run": given.get("runName"), "manifests": [], "files": {}, "created_at": time.time(),
                    "used_by": [], "ttl": given.get("ttlDurationSeconds"), "history_step": given.get("historyStep"),
                }  # fmt: skip
            doc["wanted_aliases"] = [*doc.get("wanted_aliases", ()), *(a["alias"] for a in given.get("aliases") or [])]
            doc["tags"] = sorted({*doc["tags"], *(tag["tagName"] for tag in given.get("tags") or [])})
            doc["clients"] = sorted({*doc.get("clients", ()), *filter(None, [given.get("clientID")])})
            self.store.put("artifact", doc["id"], doc)
            if doc["state"] == "COMMITTED":
                self.alias(sequence, sequence["members"].index(doc["id"]), doc["wanted_aliases"])
            for name in filter(None, (given.get("clientID"), shared)):
                self.store.put("client_id", name, {"id": doc["id"]})
        return doc, latest

    def _sequence(self, key: str, given: Node) -> Doc:
        found = self.store.get("collection", key)
        if found:
            if found["type"] != given["artifactTypeName"]:
                raise GraphQLError(f"artifact collection {key} has the type {found['type']!r}", 409)
            return found
        return self.new_collection(key, given["artifactTypeName"], "ArtifactSequence")

    def new_collection(self, key: str, kind: str, typename: str) -> Doc:
        """A collection of that type, without members."""
        doc: Doc = {"key": key, "id": node_id(typename, key), "type": kind, "typename": typename, "members": [],
                    "aliases": {}, "description": None, "tags": [], "created_at": time.time()}  # fmt: skip
        self.store.put("collection", key, doc)
        return doc

    def _same(self, sequence: Doc, digest: str) -> Doc | None:
        for member in reversed(sequence["members"]):
            doc = self.store.get("artifact", member)
            if doc and doc["digest"] == digest and doc["state"] == "COMMITTED":
                return doc
        return None

    def alias(self, collection: Doc, place: int, aliases: list[str]) -> None:
        """Let the aliases name the version at that place of the collection."""
        collection["aliases"].update(dict.fromkeys(aliases, place))
        self.store.put("collection", collection["key"], collection)

    def create_manifest(self, given: Node) -> Doc:
        """CreateArtifactManifest: a place for the list of files."""
        with self.store.change():
            artifact = self.get(given["artifactID"])
            opaque = node_id("ArtifactManifest", uuid.uuid4().hex)
            doc = {"id": opaque, "artifact": artifact["id"], "base": given.get("baseArtifactID"),
                   "name": given.get("name"),
                   "type": given.get("type") or "FULL", "digest": given.get("digest")}  # fmt: skip
            self.store.put("manifest", opaque, doc)
            earlier = artifact["manifests"] if doc["type"] == "PATCH" else []
            self.store.put("artifact", artifact["id"], {**artifact, "manifests": [*earlier, opaque]})
        return doc

    def update_manifest(self, given: Node) -> Doc:
        """UpdateArtifactManifest: its digest is known now."""
        doc = self.store.get("manifest", given["artifactManifestID"])
        if doc is None:
            raise GraphQLError("artifact manifest not found", 404)
        doc.update(digest=given.get("digest") or doc["digest"], base=given.get("baseArtifactID") or doc["base"])
        self.store.put("manifest", doc["id"], doc)
        return doc

    def object_key(self, entity: str, digest: str) -> str:
        """The key of a file's bytes in Contents."""
        return f"object/{entity}/{hex_digest(digest)}"

    def create_files(self, given: Node) -> list[Doc]:
        """CreateArtifactFiles: {"name", "key", "present", "parts", "upload"} for each file, in the order given."""
        answers = []
        with self.store.change():
            for file in given["artifactFiles"]:
                artifact = self.get(file["artifactID"])
                digest = file.get("digest") or file["md5"]
                key = self.object_key(artifact["entity"], digest)
                artifact["files"][file["name"]] = {"digest": digest, "mime": file.get("mimetype")}
                self.store.put("artifact", artifact["id"], artifact)
                parts = [part["partNumber"] for part in file.get("uploadPartsInput") or []]
                answers.append({"name": file["name"], "artifact": artifact["id"], "key": key, "parts": parts,
                                "present": self.contents.path(key).exists(), "upload": uuid.uuid4().hex})  # fmt: skip
        return answers

    def complete_multipart(self, given: Node) -> str:
        """CompleteMultipartUploadArtifact: join the parts; returns the content's MD5 in base64."""
        key, parts = given["storagePath"], sorted(part["partNumber"] for part in given["completedParts"])
        joined = self.store.get("object", f"upload/{given['uploadID']}")
        if joined is not None:  # asked again: joining gigabytes took longer than the client waits
            return str(joined["md5"])

        def chunks() -> Any:
            for part in parts:
                file = self.contents.open(f"part/{given['uploadID']}/{part}")
                if file is None:
                    raise GraphQLError(f"part {part} was not uploaded", 400)
                with file:
                    while chunk := file.read(1 << 20):
                        yield chunk

        about = self.contents.receive(key, chunks())
        for part in parts:
            self.contents.path(f"part/{given['uploadID']}/{part}").unlink(missing_ok=True)
        self.store.put("object", key, about)
        self.store.put("object", f"upload/{given['uploadID']}", about)
        return str(about["md5"])

    def commit(self, opaque: str) -> Doc:
        """CommitArtifact: the version gets its number. Raises GraphQLError(400) when its manifest never came."""
        with self.store.change():
            doc = self.get(opaque)
            if doc["state"] == "COMMITTED":
                return doc
            manifest = self.manifest(doc)
            if manifest is None:
                raise GraphQLError("the artifact's manifest was not uploaded", 400)
            missing = [name for name, entry in manifest["contents"].items() if not self._present(doc, entry)]
            if missing:
                raise GraphQLError(f"files of the manifest were not uploaded: {missing[:5]}", 400)
            doc.update(state="COMMITTED", committed_at=time.time())
            self.store.put("artifact", doc["id"], doc)
            sequence = self.store.get("collection", doc["collection"])
            assert sequence is not None
            sequence["members"].append(doc["id"])
            self.alias(sequence, len(sequence["members"]) - 1, ["latest", *doc["wanted_aliases"]])
        return doc

    def _present(self, doc: Doc, entry: Doc) -> bool:
        return "ref" in entry or self.contents.path(self.object_key(doc["entity"], entry["digest"])).exists()

    def manifest(self, doc: Doc) -> Doc | None:
        """The artifact's whole manifest: its patches together, its base under it; None when none was uploaded."""
        whole: Doc | None = None
        for opaque in doc["manifests"]:
            file = self.contents.open(f"manifest/{opaque}")
            about = self.store.get("manifest", opaque)
            if file is None or about is None:
                continue
            with file:
                part: Doc = json.load(file)
            base = self.store.get("artifact", about["base"] or "") if about["type"] == "INCREMENTAL" else None
            below = whole or (self.manifest(base) if base else None) or {"contents": {}}
            whole = {**part, "contents": {**below["contents"], **part["contents"]}}
        return whole

    # mutations: what happens to a version afterwards

    def use(self, given: Node) -> Doc:
        """UseArtifact: lineage, on the run and on the artifact."""
        with self.store.change():
            doc = self.get(given["artifactID"])
            run = self.runs.find(self.runs.key(given.get("entityName"), given.get("projectName"), given["runName"]))
            if run is None:
                raise GraphQLError("run not found", 404)
            if doc["id"] not in run["used"]:
                self.runs.save({**run, "used": [*run["used"], doc["id"]]})
            doc["used_by"] = sorted({*doc["used_by"], run["key"]})
            self.store.put("artifact", doc["id"], doc)
        return doc

    def update(self, given: Node) -> Doc:
        """UpdateArtifact: metadata, description, time to live, tags."""
        with self.store.change():
            doc = self.get(given["artifactID"])
            for name, field in (
                ("metadata", "metadata"),
                ("description", "description"),
                ("ttlDurationSeconds", "ttl"),
            ):
                if name in given and given[name] is not None:
                    doc[field] = given[name]
            added = {tag["tagName"] for tag in given.get("tagsToAdd") or []}
            removed = {tag["tagName"] for tag in given.get("tagsToDelete") or []}
            doc["tags"] = sorted({*doc["tags"], *added} - removed)
            self.store.put("artifact", doc["id"], doc)
        return doc

    def delete(self, given: Node) -> Doc:
        """DeleteArtifact: aliases go only when asked to."""
        with self.store.change():
            doc = self.get(given["artifactID"])
            collection = self.store.get("collection", doc["collection"])
            if collection and doc["id"] in collection["members"]:
                place = collection["members"].index(doc["id"])
                held = [a for a, at in collection["aliases"].items() if at == place]
                if held and held != ["latest"] and not given.get("deleteAliases"):
                    raise GraphQLError("cannot delete an artifact that has aliases", 409)
                for alias in held:
                    del collection["aliases"][alias]
                self.store.put("collection", collection["key"], collection)
            doc["state"] = "DELETED"
            self.store.put("artifact", doc["id"], doc)
        return doc
