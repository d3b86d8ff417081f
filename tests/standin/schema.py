"""The roots of the graph: every noun's queries and mutations, made for one request."""

from __future__ import annotations

from typing import Any

from .artifact_graph import ArtifactGraph
from .artifacts import Artifacts
from .files import RunFiles
from .graphql import Node, connection
from .runs import Runs, iso, node_id, project_node
from .store import Doc
from .sweeps import Sweeps

#: Features of W&B's server that this one has, too. What is not named is answered as disabled.
FEATURES = (
    "LARGE_FILENAMES", "ARTIFACT_TAGS", "CLIENT_IDS", "STRUCTURED_CONSOLE_LOGS", "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION", "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP",
    "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE", "TOTAL_COUNT_IN_FILE_CONNECTION", "MARK_RUN_FILES_UPLOADED",
    "FILESTREAM_GZIP",
)  # fmt: skip


class Schema:
    """The graph over all nouns."""

    def __init__(self, runs: Runs, files: RunFiles, artifacts: Artifacts, sweeps: Sweeps):
        self.runs = runs
        self.files = files
        self.artifacts = artifacts
        self.sweeps = sweeps
        self.features = list(FEATURES)

    def query(self, base_url: str) -> Node:
        """The root of queries."""
        graph = ArtifactGraph(self.artifacts, base_url)
        viewer = self._viewer()
        return {
            "__typename": "Query", "viewer": viewer, "serverInfo": self._server_info(),
            "project": lambda a: self._project(graph, a.get("entityName"), a.get("name")),
            "model": lambda a: self._project(graph, a.get("entityName"), a.get("name")),
            "models": lambda a: self._projects(graph, a), "entity": lambda a: self._entity(a.get("name")),
            "organization": lambda a: {"__typename": "Organization", "featureFlags": lambda a: []},
            "clientIDMapping": lambda a: self._mapping(a["clientID"]),
            "artifact": lambda a: graph.artifact(self._artifact(a["id"])),
            "artifactCollection": lambda a: graph.collection(graph.collections.by_id(a["id"])),
        }  # fmt: skip

    def mutation(self, base_url: str) -> Node:
        """The root of mutations."""
        graph, artifacts, runs = ArtifactGraph(self.artifacts, base_url), self.artifacts, self.runs
        return {
            "__typename": "Mutation",
            "upsertBucket": runs.upsert_bucket, "stopRun": runs.stop_run, "updateRunState": runs.update_state,
            "deleteRun": runs.delete_run, "notifyScriptableRunAlert": runs.alert, "rewindRun": runs.rewind,
            "createRunFiles": lambda a: self.files.create(a, base_url),
            "markRunFilesUploaded": self.files.mark_uploaded,
            "upsertModel": self._upsert_model,
            "upsertSweep": self.sweeps.upsert, "createAgent": self.sweeps.create_agent,
            "agentHeartbeat": self.sweeps.heartbeat,
            "createArtifactType": lambda a: {"__typename": "CreateArtifactTypePayload", "artifactType": {
                "__typename": "ArtifactType", "id": node_id("ArtifactType", a["input"]["name"]),
                "name": a["input"]["name"]}},
            "createArtifact": graph.create, "createArtifactFiles": graph.create_files, "linkArtifact": graph.link,
            "unlinkArtifact": graph.unlink,
            "createArtifactManifest": lambda a: graph.manifest_payload(
                "CreateArtifactManifestPayload", artifacts.create_manifest(a["input"])),
            "updateArtifactManifest": lambda a: graph.manifest_payload(
                "UpdateArtifactManifestPayload", artifacts.update_manifest(a["input"])),
            "completeMultipartUploadArtifact": lambda a: {
                "__typename": "CompletePayload", "digest": artifacts.complete_multipart(a["input"])},
            "commitArtifact": lambda a: graph.wrapped("CommitArtifactPayload",
                                                      artifacts.commit(a["input"]["artifactID"])),
            "useArtifact": lambda a: graph.wrapped("UseArtifactPayload", artifacts.use(a["input"])),
            "updateArtifact": lambda a: graph.wrapped("UpdateArtifactPayload", artifacts.update(a["input"])),
            "deleteArtifact": lambda a: graph.wrapped("DeleteArtifactPayload", artifacts.delete(a["input"])),
            "addAliases": lambda a: graph.change_aliases(a, add=True),
            "deleteAliases": lambda a: graph.change_aliases(a, add=False),
            "createArtifactCollectionTagAssignments": lambda a: graph.change_tags(a, add=True),
            "deleteArtifactCollectionTagAssignments": lambda a: graph.change_tags(a, add=False),
            "updateArtifactSequence": graph.update_collection, "updateArtifactPortfolio": graph.update_collection,
            "deleteArtifactSequence": graph.delete_collection, "deleteArtifactPortfolio": graph.delete_collection,
        }  # fmt: skip

    # accounts

    def _viewer(self) -> Node:
        entity = self.runs.default_entity
        teams = connection("Entity", [{"__typename": "Entity", "name": entity}], {})
        return {"__typename": "User", "id": node_id("User", entity), "entity": entity, "username": entity,
                "name": entity,
                "email": f"{entity}@localhost", "flags": "{}", "admin": False, "deletedAt": None, "teams": teams,
                "apiKeys": connection("ApiKey", [], {})}  # fmt: skip

    def _server_info(self) -> Node:
        features = [{"__typename": "Feature", "name": name, "isEnabled": True} for name in self.features]
        return {"__typename": "ServerInfo", "features": features, "cliVersionInfo": {"max_cli_version": "99.0.0"},
                "latestLocalVersionInfo": None}  # fmt: skip

    def _entity(self, name: str | None) -> Node:
        name = name or self.runs.default_entity
        return {"__typename": "Entity", "id": node_id("Entity", name), "name": name, "organization": None,
                "xxhashDigestsEnabled": False, "isTeam": False, "user": None}  # fmt: skip

    # projects

    def _upsert_model(self, arguments: Node) -> Node:
        given = arguments["input"]
        entity = given.get("entityName") or self.runs.default_entity
        known = self.runs.store.get("project", f"{entity}/{given['name']}")
        self.runs.store.put("project", f"{entity}/{given['name']}", {"entity": entity, "name": given["name"]})
        node = {"__typename": "Project", "id": node_id("Project", given["name"], entity), "name": given["name"],
                "entityName": entity, "description": given.get("description"), "access": "PRIVATE",
                "views": "{}"}  # fmt: skip
        return {"__typename": "UpsertModelPayload", "project": node, "model": node, "inserted": known is None}

    def _projects(self, graph: ArtifactGraph, arguments: Node) -> Node:
        entity = arguments.get("entityName") or self.runs.default_entity
        names = {doc["project"] for doc in self.runs.store.all("run", f"{entity}/")}
        names |= {doc["name"] for doc in self.runs.store.all("project", f"{entity}/")}
        return connection("Project", [self._project(graph, entity, name) for name in sorted(names)], arguments)

    def _project(self, graph: ArtifactGraph, entity: str | None, name: str | None) -> Node:
        entity, name = entity or self.runs.default_entity, name or "uncategorized"
        prefix = f"{entity}/{name}/"

        def run(arguments: Node) -> Node | None:
            doc = self.runs.store.get("run", prefix + arguments["name"])
            return self._run(graph, doc) if doc else None

        def runs(arguments: Node) -> Node:
            docs = self.runs.store.all("run", prefix)
            if str(arguments.get("order") or "").startswith("-"):
                docs.reverse()
            return connection("Run", [self._run(graph, doc) for doc in docs], arguments)

        def sweep(arguments: Node) -> Node | None:
            doc = self.sweeps.find(arguments.get("sweepName") or arguments.get("name") or "")
            return self.sweeps.node(doc) if doc else None

        def collection(arguments: Node) -> Node | None:
            doc = self.artifacts.collection(entity, name, arguments["name"])
            return graph.collection(doc) if doc else None

        def version(arguments: Node) -> Node | None:
            membership = graph.by_name(entity, name, arguments["name"])
            return membership["artifact"]({}) if membership else None

        def artifact_type(arguments: Node) -> Node:
            kind = arguments["name"]
            docs = [c for c in self.runs.store.all("collection", prefix) if c["type"] == kind]

            def every(arguments: Node) -> Node:
                return connection("ArtifactCollection", [graph.collection(c) for c in docs], arguments)

            return {"__typename": "ArtifactType", "id": node_id("ArtifactType", kind), "name": kind,
                    "description": None,
                    "createdAt": iso(0), "artifactCollection": collection, "artifactCollections": every}  # fmt: skip

        def types(arguments: Node) -> Node:
            kinds = sorted({c["type"] for c in self.runs.store.all("collection", prefix)})
            return connection("ArtifactType", [artifact_type({"name": kind}) for kind in kinds], arguments)

        return {
            **project_node(entity, name), "readOnly": False, "isBenchmark": False,
            "createdAt": iso(0), "user": None, "run": run, "bucket": run, "runs": runs,
            "runCount": lambda a: len(self.runs.store.all("run", prefix)), "sweep": sweep,
            "totalSweeps": lambda a: len(self.runs.store.all("sweep")),
            "sweeps": lambda a: connection("Sweep", [self.sweeps.node(s) for s in self.runs.store.all("sweep")
                                                     if (s["entity"], s["project"]) == (entity, name)], a),
            "artifact": version, "artifactCollection": collection, "artifactType": artifact_type,
            "artifactCollectionMembership": lambda a: graph.by_name(entity, name, a["name"]),
            "artifactTypes": types,
        }  # fmt: skip

    def _run(self, graph: ArtifactGraph, doc: Doc) -> Node:
        made = [a for a in self.runs.store.all("artifact") if f"{a['entity']}/{a['project']}/{a['run']}" == doc["key"]]
        made = [a for a in made if a["state"] == "COMMITTED"]
        used = [self.runs.store.get("artifact", opaque) for opaque in doc["used"]]
        return {
            **self.runs.node(doc), "fileCount": len(doc["files"]),
            "files": lambda a: self.files.node(doc, graph.base_url, a),
            "outputArtifacts": lambda a: connection("Artifact", [graph.artifact(x) for x in made], a),
            "inputArtifacts": lambda a: connection("Artifact", [graph.artifact(x) for x in used], a),
        }  # fmt: skip

    # artifacts

    def _mapping(self, client_id: str) -> Node | None:
        found = self.artifacts.server_id(client_id)
        return {"__typename": "ClientIDMapping", "serverID": found} if found else None

    def _artifact(self, opaque: str) -> Any:
        return self.artifacts.store.get("artifact", opaque)
