"""Artifacts as nodes of the graph: versions, collections, memberships, types and files, and the artifact mutations."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from .artifacts import Artifacts
from .collections import Collections
from .files import file_node
from .graphql import Node, connection
from .runs import iso, node_id, project_node
from .store import Doc


def tag_node(name: str) -> Node:
    """A tag."""
    return {"__typename": "Tag", "id": node_id("Tag", name), "name": name}


class ArtifactGraph:
    """Builds nodes for one answer; `base_url` is how the asking client reaches this server."""

    def __init__(self, artifacts: Artifacts, base_url: str):
        self.artifacts = artifacts
        self.collections = Collections(artifacts)
        self.store = artifacts.store
        self.base_url = base_url

    def content_url(self, key: str, name: str = "") -> str:
        """Where bytes are put and got."""
        return f"{self.base_url}/storage/content/{quote(key)}" + (f"?name={quote(name)}" if name else "")

    # nodes

    def artifact(self, doc: Doc | None) -> Node | None:
        """A version; None for none or a deleted one."""
        if doc is None or doc["state"] == "DELETED":
            return None
        sequence = self.store.get("collection", doc["collection"])
        assert sequence is not None
        place = sequence["members"].index(doc["id"]) if doc["id"] in sequence["members"] else None

        def contents() -> Doc:
            return (self.artifacts.manifest(doc) or {"contents": {}})["contents"]  # type: ignore[no-any-return]

        return {
            "__typename": "Artifact", "id": doc["id"], "state": doc["state"], "digest": doc["digest"],
            "digestAlgorithm": "MANIFEST_MD5", "commitHash": doc["id"][-12:], "description": doc["description"],
            "metadata": doc["metadata"], "ttlDurationSeconds": doc["ttl"] or -2, "ttlIsInherited": not doc["ttl"],
            "versionIndex": place, "historyStep": doc["history_step"], "createdAt": iso(doc["created_at"]),
            "updatedAt": iso(doc.get("committed_at") or doc["created_at"]),
            "tags": [tag_node(tag) for tag in doc["tags"]],
            "artifactType": {"__typename": "ArtifactType", "id": node_id("ArtifactType", doc["type"]),
                             "name": doc["type"]},
            "size": lambda a: sum(entry.get("size", 0) for entry in contents().values()),
            "fileCount": lambda a: len(contents()),
            "artifactSequence": lambda a: self.collection(sequence),
            "aliases": lambda a: self.aliases(doc),
            "currentManifest": lambda a: self._manifest(doc),
            "files": lambda a: self.files(doc, a),
            "filesByManifestEntries": lambda a: self._by_entries(doc, a),
            "artifactMemberships": lambda a: connection("ArtifactCollectionMembership", self._memberships(doc), a),
            "usedBy": lambda a: connection("Run", [self._run(key) for key in doc["used_by"]], a),
            "createdBy": lambda a: self._run(f"{doc['entity']}/{doc['project']}/{doc['run']}"),
        }  # fmt: skip

    def _run(self, key: str) -> Node | None:
        run = self.store.get("run", key)
        return self.artifacts.runs.node(run) if run else None

    def _memberships(self, doc: Doc) -> list[Node]:
        holders = [c for c in self.store.all("collection") if doc["id"] in c["members"]]
        found = [self.membership(holder, holder["members"].index(doc["id"])) for holder in holders]
        return [membership for membership in found if membership]

    def aliases(self, doc: Doc) -> list[Node]:
        """The version's aliases in every collection that has it."""
        return [alias for membership in self._memberships(doc) for alias in membership["aliases"]]

    def _manifest(self, doc: Doc) -> Node | None:
        if not doc["manifests"]:
            return None
        url = f"{self.base_url}/storage/manifest/{quote(doc['id'])}"
        file = file_node("wandb_manifest.json", url, {}, node_id("File", doc["manifests"][-1]))
        return {"__typename": "ArtifactManifest", "id": doc["manifests"][-1], "file": file}

    def _file(self, doc: Doc, name: str, entry: Doc) -> Node:
        key = self.artifacts.object_key(doc["entity"], entry["digest"])
        about = {"size": entry.get("size", 0), "md5": entry["digest"], "at": doc["created_at"]}
        return file_node(name, entry.get("ref") or self.content_url(key, name), about, node_id("File", doc["id"], name))

    def files(self, doc: Doc, arguments: Node) -> Node:
        """The version's files, all or by names."""
        names: list[Any] = arguments.get("names") or []
        contents = (self.artifacts.manifest(doc) or {"contents": {}})["contents"]
        nodes = [self._file(doc, name, entry) for name, entry in sorted(contents.items()) if not names or name in names]
        return connection("File", nodes, arguments)

    def _by_entries(self, doc: Doc, arguments: Node) -> Node:
        nodes = [self._file(doc, entry["name"], entry) for entry in arguments.get("entries") or []]
        return connection("File", nodes, {})

    def collection(self, doc: Doc) -> Node:
        """A sequence or portfolio."""
        entity, project, name = doc["key"].split("/")
        aliases = [self._alias(doc, alias) for alias in sorted(doc["aliases"])]
        return {
            "__typename": doc["typename"], "id": doc["id"], "name": name, "description": doc["description"],
            "createdAt": iso(doc["created_at"]), "updatedAt": iso(doc["created_at"]), "digestAlgorithm": "MANIFEST_MD5",
            "project": project_node(entity, project), "state": "READY",
            "type": {"__typename": "ArtifactType", "id": node_id("ArtifactType", doc["type"]), "name": doc["type"]},
            "defaultArtifactType": {"__typename": "ArtifactType", "id": node_id("ArtifactType", doc["type"]),
                                    "name": doc["type"]},
            "tags": connection("Tag", [tag_node(tag) for tag in doc["tags"]], {}),
            "aliases": lambda a: connection("ArtifactAlias", aliases, a),
            "latestArtifact": lambda a: self.artifact(self.artifacts.at(doc, "latest")),
            "artifactMembership": lambda a: self.membership(doc, self.artifacts.place(doc, a["aliasName"])),
            "artifacts": lambda a: self._versions(doc, a),
        }  # fmt: skip

    def _versions(self, doc: Doc, arguments: Node) -> Node:
        nodes = [self.artifact(self.store.get("artifact", member)) for member in reversed(doc["members"])]
        page = connection("Artifact", [node for node in nodes if node], arguments)
        for edge in page["edges"]:
            edge["version"] = f"v{edge['node']['versionIndex']}"
        return page

    def _alias(self, collection: Doc, alias: str) -> Node:
        return {"__typename": "ArtifactAlias", "id": node_id("Alias", collection["key"], alias), "alias": alias,
                "artifactCollection": self._brief(collection)}  # fmt: skip

    @staticmethod
    def _brief(collection: Doc) -> Node:
        entity, project, name = collection["key"].split("/")
        return {
            "__typename": collection["typename"],
            "id": collection["id"],
            "name": name,
            "project": project_node(entity, project),
        }

    def membership(self, collection: Doc, place: int | None) -> Node | None:
        """A version's place in a collection."""
        if place is None:
            return None
        doc = self.artifacts.get(collection["members"][place])
        names = sorted(alias for alias, at in collection["aliases"].items() if at == place)
        return {
            "__typename": "ArtifactCollectionMembership", "id": node_id("Membership", collection["key"], str(place)),
            "versionIndex": place, "createdAt": iso(doc["created_at"]), "artifactCollection": self._brief(collection),
            "aliases": [self._alias(collection, name) for name in names],
            "artifact": lambda a: self.artifact(doc), "files": lambda a: self.files(doc, a),
        }  # fmt: skip

    def by_name(self, entity: str, project: str, name: str) -> Node | None:
        """The membership that "collection:alias" (or with entity and project before it) names."""
        *path, last = name.split("/")
        if len(path) == 2:
            entity, project = path
        short, _, alias = last.partition(":")
        found = self.artifacts.collection(entity, project, short)
        return self.membership(found, self.artifacts.place(found, alias or "latest")) if found else None

    # mutations

    def create(self, arguments: Node) -> Node:
        """CreateArtifact."""
        doc, latest = self.artifacts.create(arguments["input"])
        node = self.artifact(doc)
        assert node is not None
        sequence = node["artifactSequence"]({})
        node["artifactSequence"] = {**sequence, "latestArtifact": self.artifact(latest)}
        return {"__typename": "CreateArtifactPayload", "artifact": node}

    def manifest_payload(self, typename: str, doc: Doc) -> Node:
        """The answer to CreateArtifactManifest and UpdateArtifactManifest: where to put it."""
        url = f"{self.base_url}/storage/manifest-upload/{quote(doc['id'])}"
        file = {**file_node("wandb_manifest.json", url, {}), "uploadUrl": url, "uploadHeaders": []}
        return {
            "__typename": typename,
            "artifactManifest": {"__typename": "ArtifactManifest", "id": doc["id"], "file": file},
        }

    def create_files(self, arguments: Node) -> Node:
        """CreateArtifactFiles: an upload URL each, or none for bytes that are there already."""
        nodes = []
        for file in self.artifacts.create_files(arguments["input"]):
            parts = [{"partNumber": part, "uploadUrl": self.content_url(f"part/{file['upload']}/{part}")}
                     for part in file["parts"]]  # fmt: skip
            nodes.append({
                "__typename": "File", "name": file["name"], "displayName": file["name"], "storagePath": file["key"],
                "uploadUrl": None if file["present"] else self.content_url(file["key"]), "uploadHeaders": [],
                "uploadMultipartUrls": {"uploadID": file["upload"], "uploadUrlParts": parts} if parts else None,
                "artifact": {"__typename": "Artifact", "id": file["artifact"]},
            })  # fmt: skip
        return {"__typename": "CreateArtifactFilesPayload", "files": connection("File", nodes, {})}

    def link(self, arguments: Node) -> Node:
        """LinkArtifact."""
        portfolio, place = self.collections.link(arguments["input"])
        membership = self.membership(portfolio, place)
        return {"__typename": "LinkArtifactPayload", "versionIndex": place, "artifactMembership": membership}

    def unlink(self, arguments: Node) -> Node:
        """UnlinkArtifact."""
        self.collections.unlink(arguments["input"])
        return {"__typename": "UnlinkArtifactPayload", "artifactID": arguments["input"]["artifactID"], "success": True}

    def update_collection(self, arguments: Node) -> Node:
        """UpdateArtifactSequence and UpdateArtifactPortfolio."""
        found = self.collections.update(arguments["input"])
        return {"__typename": "UpdateCollectionPayload", "artifactCollection": self.collection(found)}

    def delete_collection(self, arguments: Node) -> Node:
        """DeleteArtifactSequence and DeleteArtifactPortfolio."""
        node = {**self.collection(self.collections.delete(arguments["input"])), "state": "DELETED"}
        return {"__typename": "DeleteCollectionPayload", "artifactCollection": node}

    def change_tags(self, arguments: Node, *, add: bool) -> Node:
        """The two mutations of a collection's tags."""
        tags = [tag_node(tag) for tag in self.collections.change_tags(arguments["input"], add=add)]
        return {"__typename": "TagsPayload", "tags": tags, "success": True}

    def change_aliases(self, arguments: Node, *, add: bool) -> Node:
        """AddAliases and DeleteAliases."""
        self.collections.change_aliases(arguments["input"], add=add)
        return {"__typename": "AliasesPayload", "success": True}

    def wrapped(self, typename: str, doc: Doc) -> Node:
        """A payload that carries the artifact."""
        return {"__typename": typename, "artifact": self.artifact(doc), "success": True, "clientMutationId": None}

    def manifest_bytes(self, opaque: str) -> bytes | None:
        """The whole manifest as clients download it."""
        manifest = self.artifacts.manifest(self.artifacts.get(opaque))
        return None if manifest is None else json.dumps(manifest).encode()
