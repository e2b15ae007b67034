"""The manifests: each object against Kubernetes' own schemas, kustomizations complete, and the rules of the house."""

import copy
import pathlib
import sys
import tomllib

import kubernetes_validate
import yaml

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "k8s"
KUSTOMIZATION = "kustomization.yaml"
PART_OF = {"app.kubernetes.io/part-of": "trellis"}
PARTS = {"users", "auth", "messaging", "gateway"}


class Findings(list):
    def expect(self, holds, where, what):
        if not holds:
            self.append(f"{where}: {what}")


def kustomization(path, findings):
    """Everything that it names exists, and everything beside it is named."""
    body = yaml.safe_load(path.read_text())
    findings.expect(body.get("kind") == "Kustomization", path, "kind is not Kustomization")
    generated = [file for part in body.get("configMapGenerator", []) for file in part.get("files", [])]
    patches = [patch["path"] for patch in body.get("patches", []) if "path" in patch]
    named = set(body.get("resources", [])) | set(generated) | set(patches)
    for name in named:
        there = path.parent / name
        there = there / KUSTOMIZATION if there.is_dir() else there
        findings.expect(there.is_file(), path, f"names {name}, which does not exist")
    beside = {file.name for file in path.parent.iterdir() if file.is_file()} - {KUSTOMIZATION}
    for name in sorted(beside - named):
        findings.append(f"{path}: does not name {name}")
    findings.expect("secretGenerator" not in body, path, "secrets do not belong into the repository")


def objects(findings):
    """All objects of the base, each by the schema of its kind. `strict`: an unknown key is a finding too."""
    found = []
    for path in sorted((FOLDER / "base").glob("*.yaml")):
        if path.name == KUSTOMIZATION:
            continue
        for body in yaml.safe_load_all(path.read_text()):
            where = f"{path.name}: {body['kind']} {body['metadata']['name']}"
            schema(where, body, findings)
            found.append((where, body))
    return found


def schema(where, body, findings):
    try:
        kubernetes_validate.validate(body, kubernetes_validate.latest_version(), strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        # The first line says what, the one that begins with "On instance" where; the schema between is a page.
        lines = str(error).splitlines()
        place = next((line for line in lines if line.startswith("On instance")), "")
        findings.append(f"{where}: {lines[0]} {place}".rstrip(" :"))


def overlay(path, found, findings):
    """The base as an overlay patches it is still valid. Understood: adding to the end of a list."""
    for patch in yaml.safe_load(path.read_text()).get("patches", []):
        for where, body in of_kind(found, patch["target"]["kind"]):
            patched = copy.deepcopy(body)
            for step in yaml.safe_load(patch["patch"]):
                *parents, end = step["path"].strip("/").split("/")
                if (step["op"], end) != ("add", "-"):
                    findings.append(f"{path}: validate_k8s.py understands no {step['op']} {step['path']} yet")
                    continue
                place = patched
                for key in parents:
                    place = place[int(key)] if isinstance(place, list) else place[key]
                place.append(step["value"])
            schema(f"{path.parent.name}: {where}", patched, findings)


def of_kind(found, kind):
    return [(where, body) for where, body in found if body["kind"] == kind]


def deployment(where, body, settle, grace, findings):
    name = body["metadata"]["name"]
    template = body["spec"]["template"]
    pod = template["spec"]
    labels = template["metadata"]["labels"]
    selector = body["spec"]["selector"]["matchLabels"]
    findings.expect(PART_OF.items() <= labels.items(), where, "pods are not part of trellis")
    findings.expect(selector.items() <= labels.items(), where, "the selector does not fit the pods")
    rolling = body["spec"]["strategy"]["rollingUpdate"]
    findings.expect(rolling["maxUnavailable"] == 0 and rolling["maxSurge"] >= 1, where, "goes below its replicas")
    stopping = settle + grace
    findings.expect(
        pod["terminationGracePeriodSeconds"] > stopping, where, f"killed before the {stopping} s of a shutdown are over"
    )
    findings.expect(pod["automountServiceAccountToken"] is False, where, "carries a token of Kubernetes")
    findings.expect(pod["securityContext"]["runAsNonRoot"] is True, where, "may run as root")
    findings.expect(pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", where, "has no seccomp profile")
    findings.expect(pod.get("topologySpreadConstraints"), where, "is not spread")
    for volume in pod["volumes"]:
        if "secret" in volume:
            findings.expect(volume["secret"].get("defaultMode") == 0o400, where, f"{volume['name']} is not 0400")
    mounted = {volume["name"] for volume in pod["volumes"]}
    containers = pod["containers"] + pod.get("initContainers", [])
    for container in containers:
        context = container["securityContext"]
        inside = f"{where}: {container['name']}"
        findings.expect(container["image"] == "trellis", inside, "is not our image")
        findings.expect(context["readOnlyRootFilesystem"] is True, inside, "may write to its image")
        findings.expect(context["allowPrivilegeEscalation"] is False, inside, "may gain privileges")
        findings.expect(context["capabilities"]["drop"] == ["ALL"], inside, "keeps capabilities")
        findings.expect({"requests", "limits"} <= container["resources"].keys(), inside, "states no resources")
        for mount in container["volumeMounts"]:
            findings.expect(mount["name"] in mounted, inside, f"mounts {mount['name']}, which is no volume")
        for variable in container["env"]:
            secret = any(word in variable["name"] for word in ("URL", "PASSWORD", "SECRET"))
            findings.expect(not (secret and "value" in variable), inside, f"{variable['name']} stands in the open")
    main = pod["containers"][0]
    probe = main["readinessProbe"]
    noticed = probe["periodSeconds"] * probe["failureThreshold"]
    findings.expect(settle > noticed, where, f"settles for {settle} s, and others notice after {noticed} s")
    findings.expect("lifecycle" not in main, where, "has a hook, where settling is the process's own")
    findings.expect(main["args"] == [name], where, "does not run the part that it is named after")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        findings.expect(probe in main, where, f"has no {probe}")
    findings.expect(main["livenessProbe"]["httpGet"]["path"] == "/livez", where, "lives by more than itself")


def listens(config):
    """The port of each part, as config.toml says."""
    ports = {name: config[name]["listen"] for name in PARTS - {"gateway"}} | {"gateway": config["gateway"]["listen"][0]}
    return {name: int(listen.rsplit(":", 1)[1]) for name, listen in ports.items()}


def seconds(text):
    return int(text.removesuffix("s"))


def wiring(found, config, findings):
    """Services, budgets and policies meet pods and ports that exist, and the configuration agrees with both."""
    pods = {body["metadata"]["name"]: body["spec"]["template"] for _, body in of_kind(found, "Deployment")}
    findings.expect(set(pods) == PARTS, "Deployments", f"are {sorted(pods)}, not {sorted(PARTS)}")
    for name, template in pods.items():
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
        findings.expect(listens(config)[name] in ports.values(), name, "does not listen where config.toml says")
        findings.expect(ports["admin"] == int(config["admin"]["listen"].rsplit(":", 1)[1]), name, "has another admin port")
    services = {}
    for where, body in of_kind(found, "Service"):
        name = body["metadata"]["name"]
        services[name] = body["spec"]["ports"][0]["port"]
        template = pods.get(name)
        fits = template and body["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        findings.expect(fits, where, "selects no pods of its name")
        named = [port["name"] for port in template["spec"]["containers"][0]["ports"]] if template else []
        findings.expect(body["spec"]["ports"][0]["targetPort"] in named, where, "targets a port that pods do not have")
    is_allowed = config.get("tls", {}).get("insecure") is True
    findings.expect(is_allowed, "config.toml: tls.insecure", "does not say that links in the clear are meant")
    for name, url in config["peers"].items():
        findings.expect(url == f"http://{name}:{services.get(name)}", f"config.toml: peers.{name}", "is no Service")
    budgets = {body["metadata"]["name"]: (where, body["spec"]) for where, body in of_kind(found, "PodDisruptionBudget")}
    findings.expect(set(budgets) == PARTS, "PodDisruptionBudgets", f"are {sorted(budgets)}, not {sorted(PARTS)}")
    for name, (where, budget) in budgets.items():
        wanted = budget["selector"]["matchLabels"].items()
        fits = name in pods and wanted <= pods[name]["metadata"]["labels"].items()
        findings.expect(fits, where, "does not protect the pods of its name")
        findings.expect(budget.get("maxUnavailable") == 1, where, "does not let one pod go at a time")
    policies = {body["metadata"]["name"]: body["spec"] for _, body in of_kind(found, "NetworkPolicy")}
    deny = policies.get("trellis-deny-all", {})
    closed = deny.get("podSelector") == {"matchLabels": PART_OF} and not {"ingress", "egress"} & deny.keys()
    findings.expect(closed, "networkpolicy.yaml", "does not begin by denying everything")


def main():
    findings = Findings()
    for path in sorted(FOLDER.rglob(KUSTOMIZATION)):
        kustomization(path, findings)
    found = objects(findings)
    for path in sorted((FOLDER / "overlays").rglob(KUSTOMIZATION)):
        overlay(path, found, findings)
    config = tomllib.loads((FOLDER / "base" / "config.toml").read_text())
    settle, grace = (seconds(config["shutdown"][step]) for step in ("settle", "grace"))
    for where, body in of_kind(found, "Deployment"):
        deployment(where, body, settle, grace, findings)
    for where, _ in of_kind(found, "Secret"):
        findings.append(f"{where}: secrets do not belong into the repository")
    wiring(found, config, findings)
    print("\n".join(findings) or f"{len(found)} objects are valid")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
