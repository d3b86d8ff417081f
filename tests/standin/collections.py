"""Artifact collections after their versions are made: aliases, links into portfolios, tags, descriptions, deletion."""

from __future__ import annotations

from .artifacts import Artifacts
from .graphql import GraphQLError, Node
from .store import Doc


class Collections:
    """Changes to the collections of the store."""

    def __init__(self, artifacts: Artifacts):
        self.artifacts = artifacts
        self.store = artifacts.store

    def by_id(self, opaque: str) -> Doc:
        """A collection by its opaque id. Raises GraphQLError(404)."""
        found = next((doc for doc in self.store.all("collection") if doc["id"] == opaque), None)
        if found is None:
            raise GraphQLError("artifact collection not found", 404)
        return found

    def by_name(self, given: Node) -> Doc:
        """A collection by the names in a mutation's input. Raises GraphQLError(404)."""
        names = (given.get("entityName"), given.get("projectName"), given["artifactCollectionName"])
        found = self.artifacts.collection(*names)
        if found is None:
            raise GraphQLError("artifact collection not found", 404)
        return found

    def link(self, given: Node) -> tuple[Doc, int]:
        """LinkArtifact: (portfolio, place in it)."""
        artifacts = self.artifacts
        with self.store.change():
            doc = artifacts.get(given.get("artifactID") or given["clientID"])
            key = artifacts.runs.key(given.get("entityName"), given.get("projectName"), given["artifactPortfolioName"])
            found = self.store.get("collection", key)
            portfolio = found or artifacts.new_collection(key, doc["type"], "ArtifactPortfolio")
            if doc["id"] not in portfolio["members"]:
                portfolio["members"].append(doc["id"])
            place = portfolio["members"].index(doc["id"])
            artifacts.alias(portfolio, place, ["latest", *(alias["alias"] for alias in given.get("aliases") or [])])
        return portfolio, place

    def unlink(self, given: Node) -> None:
        """UnlinkArtifact: its aliases in the portfolio go; the numbers of the others stay."""
        with self.store.change():
            found = self.by_id(given["artifactPortfolioID"])
            if given["artifactID"] not in found["members"]:
                raise GraphQLError("artifact is not linked there", 404)
            place = found["members"].index(given["artifactID"])
            found["aliases"] = {alias: at for alias, at in found["aliases"].items() if at != place}
            self.store.put("collection", found["key"], found)

    def change_aliases(self, given: Node, *, add: bool) -> None:
        """AddAliases and DeleteAliases."""
        with self.store.change():
            artifact = self.artifacts.get(given["artifactID"])
            for alias in given["aliases"]:
                found = self.by_name(alias)
                if add:
                    self.artifacts.alias(found, found["members"].index(artifact["id"]), [alias["alias"]])
                else:
                    found["aliases"].pop(alias["alias"], None)
                    self.store.put("collection", found["key"], found)

    def change_tags(self, given: Node, *, add: bool) -> list[str]:
        """Tags of a collection; returns those it has then."""
        with self.store.change():
            found = self.by_name(given)
            named = {tag["tagName"] for tag in given["tags"]}
            found["tags"] = sorted({*found["tags"], *named} if add else {*found["tags"]} - named)
            self.store.put("collection", found["key"], found)
        return list(found["tags"])

    def update(self, given: Node) -> Doc:
        """UpdateArtifactSequence and UpdateArtifactPortfolio: name and description."""
        with self.store.change():
            found = self.by_id(given.get("artifactSequenceID") or given["artifactPortfolioID"])
            if given.get("description") is not None:
                found["description"] = given["description"]
            name = given.get("name")
            if name and name != found["key"].rsplit("/", 1)[-1]:
                self.store.delete("collection", found["key"])
                found["key"] = f"{found['key'].rsplit('/', 1)[0]}/{name}"
                for doc in self.store.all("artifact"):
                    if doc["id"] in found["members"] and found["typename"] == "ArtifactSequence":
                        self.store.put("artifact", doc["id"], {**doc, "collection": found["key"], "name": name})
            self.store.put("collection", found["key"], found)
        return found

    def delete(self, given: Node) -> Doc:
        """DeleteArtifactSequence and DeleteArtifactPortfolio; a sequence takes its versions with it."""
        with self.store.change():
            found = self.by_id(given.get("artifactSequenceID") or given["artifactPortfolioID"])
            for member in found["members"] if found["typename"] == "ArtifactSequence" else []:
                self.store.put("artifact", member, {**self.artifacts.get(member), "state": "DELETED"})
            found.update(aliases={}, members=[])
            self.store.put("collection", found["key"], found)
        return found
