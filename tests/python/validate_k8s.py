"""Checks the manifests against the schemas of Kubernetes and the project's rules, and that kustomizations are complete."""

import copy
import pathlib
import sys
import tomllib

import kubernetes_validate
import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "k8s"
KUSTOMIZATION = "kustomization.yaml"
PART_OF = {"app.kubernetes.io/part-of": "trellis"}
SERVICES = {path.parent.name for path in REPOSITORY.glob("services/*/migrations")}
PARTS = SERVICES | {"gateway"}


class Findings(list):
    def expect(self, holds, where, what):
        if not holds:
            self.append(f"{where}: {what}")


def kustomization(path, findings):
    """Checks that every listed file exists, and that every file beside it is listed."""
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
    findings.expect("secretGenerator" not in body, path, "secrets do not belong in the repository")


def objects(folder, findings):
    """All objects of the base, each checked against the schema of its kind. With `strict`, an unknown key is a finding."""
    found = []
    for path in sorted((folder / "base").glob("*.yaml")):
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
        # The first line is the error, the line "On instance" is its place; the schema in between is a page long.
        lines = str(error).splitlines()
        place = next((line for line in lines if line.startswith("On instance")), "")
        findings.append(f"{where}: {lines[0]} {place}".rstrip(" :"))


def overlay(path, found, findings):
    """Applies an overlay to the base. Supports replica counts, and `add` to lists and objects."""
    body = yaml.safe_load(path.read_text())
    made = copy.deepcopy(found)
    counts = {entry["name"]: entry["count"] for entry in body.get("replicas", [])}
    for _, deployed in of_kind(made, "Deployment"):
        deployed["spec"]["replicas"] = counts.get(deployed["metadata"]["name"], deployed["spec"]["replicas"])
    for patch in body.get("patches", []):
        target = patch["target"]
        fits = [each for _, each in of_kind(made, target["kind"]) if named(target.get("name"), each)]
        findings.expect(fits, path, f"patches no {target}")
        for patched in fits:
            for step in yaml.safe_load(patch["patch"]):
                apply(step, patched, path, findings)
    for name in sorted(body.get("resources", [])):
        if (path.parent / name).is_file():
            for added in yaml.safe_load_all((path.parent / name).read_text()):
                made.append((f"{name}: {added['kind']} {added['metadata']['name']}", added))
    for where, patched in made:
        schema(f"{path.parent.name}: {where}", patched, findings)
    return made


def apply(step, patched, path, findings):
    """One step of RFC 6902."""
    *parents, end = step["path"].strip("/").split("/")
    place = patched
    for key in parents:
        place = place[int(key)] if isinstance(place, list) else place[key]
    if step["op"] != "add" or isinstance(place, list) != (end == "-"):
        findings.append(f"{path}: validate_k8s.py understands no {step['op']} {step['path']} yet")
    elif isinstance(place, list):
        place.append(step["value"])
    else:
        place[end] = step["value"]


def named(name, body):
    return name in (None, body["metadata"]["name"])


def of_kind(found, kind):
    return [(where, body) for where, body in found if body["kind"] == kind]


def deployment(where, body, settle, grace, findings):
    name = body["metadata"]["name"]
    template = body["spec"]["template"]
    pod = template["spec"]
    labels = template["metadata"]["labels"]
    selector = body["spec"]["selector"]["matchLabels"]
    findings.expect(PART_OF.items() <= labels.items(), where, "pods are not part of trellis")
    findings.expect(selector.items() <= labels.items(), where, "the selector does not match the pods")
    rolling = body["spec"]["strategy"]["rollingUpdate"]
    findings.expect(rolling["maxUnavailable"] == 0 and rolling["maxSurge"] >= 1, where, "updates below its replicas")
    stopping = settle + grace
    findings.expect(
        pod["terminationGracePeriodSeconds"] > stopping, where, f"is killed before the {stopping} s of a shutdown are over"
    )
    findings.expect(pod["automountServiceAccountToken"] is False, where, "mounts a service account token")
    findings.expect(pod["securityContext"]["runAsNonRoot"] is True, where, "may run as root")
    findings.expect(pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", where, "has no seccomp profile")
    findings.expect(pod.get("topologySpreadConstraints"), where, "has no topologySpreadConstraints")
    for volume in pod["volumes"]:
        if "secret" in volume:
            findings.expect(volume["secret"].get("defaultMode") == 0o400, where, f"{volume['name']} is not 0400")
    mounted = {volume["name"] for volume in pod["volumes"]}
    containers = pod["containers"] + pod.get("initContainers", [])
    for container in containers:
        context = container["securityContext"]
        inside = f"{where}: {container['name']}"
        findings.expect(container["image"] == "trellis", inside, "does not use the image trellis")
        findings.expect(context["readOnlyRootFilesystem"] is True, inside, "has a writable root filesystem")
        findings.expect(context["allowPrivilegeEscalation"] is False, inside, "may gain privileges")
        findings.expect(context["capabilities"]["drop"] == ["ALL"], inside, "does not drop all capabilities")
        findings.expect({"requests", "limits"} <= container["resources"].keys(), inside, "has no resource requests and limits")
        for mount in container["volumeMounts"]:
            findings.expect(mount["name"] in mounted, inside, f"mounts {mount['name']}, which is not a volume")
        for variable in container["env"]:
            secret = any(word in variable["name"] for word in ("URL", "PASSWORD", "SECRET"))
            findings.expect(not (secret and "value" in variable), inside, f"{variable['name']} is a secret in plain text")
    main = pod["containers"][0]
    probe = main["readinessProbe"]
    noticed = probe["periodSeconds"] * probe["failureThreshold"]
    findings.expect(settle > noticed, where, f"settles for {settle} s, but others notice only after {noticed} s")
    findings.expect("lifecycle" not in main, where, "has a lifecycle hook, although the process itself settles")
    findings.expect(main["args"] == [name], where, "does not run the part that it is named after")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        findings.expect(probe in main, where, f"has no {probe}")
    findings.expect(main["livenessProbe"]["httpGet"]["path"] == "/livez", where, "has another liveness path than /livez")


def listens(config):
    """The port of each part in config.toml."""
    ports = {name: config[name]["listen"] for name in SERVICES} | {"gateway": config["gateway"]["listen"][0]}
    return {name: int(listen.rsplit(":", 1)[1]) for name, listen in ports.items()}


def seconds(text):
    return int(text.removesuffix("s"))


def wiring(found, config, findings):
    """Checks that services, budgets, policies and the configuration match existing pods and ports."""
    pods = {body["metadata"]["name"]: body["spec"]["template"] for _, body in of_kind(found, "Deployment")}
    findings.expect(set(pods) == PARTS, "Deployments", f"are {sorted(pods)}, not {sorted(PARTS)}")
    for name, template in pods.items():
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
        findings.expect(listens(config)[name] in ports.values(), name, "does not listen on the port in config.toml")
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
    findings.expect(is_allowed, "config.toml: tls.insecure", "is not set, although the links have no TLS")
    for name, url in config["peers"].items():
        findings.expect(url == f"http://{name}:{services.get(name)}", f"config.toml: peers.{name}", "is not a Service")
    budgets = {body["metadata"]["name"]: (where, body["spec"]) for where, body in of_kind(found, "PodDisruptionBudget")}
    findings.expect(set(budgets) == PARTS, "PodDisruptionBudgets", f"are {sorted(budgets)}, not {sorted(PARTS)}")
    for name, (where, budget) in budgets.items():
        wanted = budget["selector"]["matchLabels"].items()
        fits = name in pods and wanted <= pods[name]["metadata"]["labels"].items()
        findings.expect(fits, where, "does not protect the pods of its name")
        findings.expect(budget.get("maxUnavailable") == 1, where, "does not allow one unavailable pod")
    policies = {body["metadata"]["name"]: body["spec"] for _, body in of_kind(found, "NetworkPolicy")}
    deny = policies.get("trellis-deny-all", {})
    closed = deny.get("podSelector") == {"matchLabels": PART_OF} and not {"ingress", "egress"} & deny.keys()
    findings.expect(closed, "networkpolicy.yaml", "does not deny all traffic by default")


def environment(body):
    """The environment variables of the main container; the last value of a name applies."""
    return {each["name"]: each.get("value") for each in body["spec"]["template"]["spec"]["containers"][0]["env"]}


def mebibytes(text):
    units = {"Mi": 1, "Gi": 1024}
    return int(text[:-2]) * units[text[-2:]]


# The default of `auth.argon2.memory_kib`, and the part of the limit for all hashes.
HASH_KIB = 19_456
SHARE_FOR_HASHES = 0.5
# Fewer concurrent hashes would make sign-in slow.
LEAST_HASHES = 4


def hashing(where, body, config, findings):
    """auth derives its hashing threads from the memory limit. A configured number must fit into it too."""
    limit = mebibytes(body["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"])
    memory = environment(body).get("TRELLIS_AUTH__ARGON2__MEMORY_KIB") or config["auth"].get("argon2", {}).get("memory_kib", HASH_KIB)
    fit = int(limit * 1024 * SHARE_FOR_HASHES / int(memory))
    findings.expect(fit >= LEAST_HASHES, where, f"{limit} MiB fit {fit} concurrent password hashes; at least {LEAST_HASHES} are needed")
    configured = environment(body).get("TRELLIS_AUTH__HASHING_THREADS") or config["auth"].get("hashing_threads", 0)
    findings.expect(int(configured) <= fit, where, f"hashes {configured} passwords concurrently, but has memory for {fit}")


# The gateway's memory beside responses, and the flow-control window of one response (gateway/src/upstream/connection.rs).
GATEWAY_MIB = 64
WINDOW_MIB = 1 / 16
# The default of `balance.shed.most_calls`.
MOST_CALLS = 4_096


def unread(where, body, config, findings):
    """A burst of calls whose responses no client reads fits into the gateway's memory limit. For a moment each call holds a
    window from its upstream; then the bound on unread bytes applies, whose buffers may be half empty."""
    limit = mebibytes(body["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"])
    calls = config.get("balance", {}).get("shed", {}).get("most_calls", MOST_CALLS)
    bound = config["gateway"]["stalled_response_bytes"] / 2**20
    needed = round(GATEWAY_MIB + calls * WINDOW_MIB + 2 * bound)
    findings.expect(needed <= limit, where, f"{limit} MiB do not hold a burst of {calls} unread responses: {needed} MiB")


def shares(name, found, config, findings):
    """Checks that, while Redis is unreachable, all replicas together admit no more than a limit, and nearly as much."""
    scaled = {
        body["spec"]["scaleTargetRef"]["name"]: body["spec"]["maxReplicas"]
        for _, body in of_kind(found, "HorizontalPodAutoscaler")
    }
    for where, body in of_kind(found, "Deployment"):
        part = body["metadata"]["name"]
        if part not in ("gateway", "auth"):
            continue
        most = scaled.get(part, body["spec"]["replicas"])
        share = float(environment(body).get("TRELLIS_LIMITER__SHARE") or config["limiter"]["share"])
        holds = 0.9 <= share * most <= 1
        findings.expect(holds, f"{name}: {where}", f"limiter.share {share} is not one divided by {most} replicas")


def proxies(name, found, config, findings):
    """Checks that the gateway trusts client addresses from a proxy only if no other client can reach the gateway."""
    for where, body in of_kind(found, "Deployment"):
        if body["metadata"]["name"] != "gateway":
            continue
        variable = environment(body).get("TRELLIS_GATEWAY__TRUSTED_PROXIES")
        trusted = variable.split(",") if variable else config["gateway"]["trusted_proxies"]
        policies = of_kind(found, "NetworkPolicy")
        rules = next(policy["spec"]["ingress"] for _, policy in policies if named("gateway-ingress", policy))
        is_open = any("from" not in rule for rule in rules)
        findings.expect(not (trusted and is_open), f"{name}: {where}", "trusts proxies, but any client can connect as one")
        is_behind = any(rule.get("from") for rule in rules) or of_kind(found, "Ingress")
        one = "is behind an Ingress and trusts no proxy: all users share one address"
        findings.expect(trusted or not is_behind, f"{name}: {where}", one)


def egress(name, found, config, findings):
    """Checks that the network policies allow every connection in the configuration."""
    allowed = {part: [] for part in PARTS}
    for _, body in of_kind(found, "NetworkPolicy"):
        if "Egress" in body["spec"]["policyTypes"]:
            for part in selected(body["spec"]["podSelector"]):
                allowed[part] += body["spec"].get("egress", [])

    def reaches(part, port):
        return any(
            "ports" not in rule or any(each["port"] == port for each in rule["ports"])
            for rule in allowed[part]
            if "to" not in rule
        )

    collector = int(config.get("trace", {}).get("endpoint", ":4317").rsplit(":", 1)[1])
    for part in sorted(PARTS):
        findings.expect(reaches(part, collector), f"{name}: {part}", f"cannot export traces to port {collector}")
        findings.expect(reaches(part, 6379), f"{name}: {part}", "cannot reach Redis")
        database = part == "gateway" or reaches(part, 5432)
        findings.expect(database, f"{name}: {part}", "cannot reach its database")
    mesh = {"matchLabels": PART_OF}
    to_mesh = [rule for rule in allowed["gateway"] for peer in rule.get("to", []) if peer.get("podSelector") == mesh]
    ports = [range(each["port"], each.get("endPort", each["port"]) + 1) for rule in to_mesh for each in rule["ports"]]
    for callee in sorted(SERVICES):
        number = listens(config)[callee]
        is_reached = any(number in each for each in ports)
        findings.expect(is_reached, f"{name}: gateway", f"cannot reach {callee} on port {number}")
    upstream = {"matchLabels": {"trellis/upstream": "true"}}
    labelled = [
        rule for rule in allowed["gateway"] for peer in rule.get("to", []) if peer.get("podSelector") == upstream
    ]
    is_reached = any("ports" not in rule for rule in labelled)
    findings.expect(is_reached, f"{name}: gateway", "cannot reach external upstreams")


def selected(selector):
    """The parts whose pods the selector of a policy matches."""
    names = selector.get("matchLabels", {}).get("app.kubernetes.io/name")
    wanted = {names} if names else set(PARTS)
    for expression in selector.get("matchExpressions", []):
        if expression["key"] == "app.kubernetes.io/name":
            values = set(expression["values"])
            wanted = wanted & values if expression["operator"] == "In" else wanted - values
    return wanted


def rules(name, found, config, findings):
    """Checks the base and each overlay."""
    for where, body in of_kind(found, "Deployment"):
        if body["metadata"]["name"] == "auth":
            hashing(f"{name}: {where}", body, config, findings)
        if body["metadata"]["name"] == "gateway":
            unread(f"{name}: {where}", body, config, findings)
    shares(name, found, config, findings)
    proxies(name, found, config, findings)
    egress(name, found, config, findings)


def check(folder, findings):
    """Checks the manifests in `folder`. Returns how many objects its base has."""
    for path in sorted(folder.rglob(KUSTOMIZATION)):
        kustomization(path, findings)
    found = objects(folder, findings)
    config = tomllib.loads((folder / "base" / "config.toml").read_text())
    settle, grace = (seconds(config["shutdown"][step]) for step in ("settle", "grace"))
    for where, body in of_kind(found, "Deployment"):
        deployment(where, body, settle, grace, findings)
    for where, _ in of_kind(found, "Secret"):
        findings.append(f"{where}: secrets do not belong in the repository")
    wiring(found, config, findings)
    rules("base", found, config, findings)
    for path in sorted((folder / "overlays").rglob(KUSTOMIZATION)):
        rules(path.parent.name, overlay(path, found, findings), config, findings)
    return len(found)


def main():
    findings = Findings()
    count = check(FOLDER, findings)
    print("\n".join(findings) or f"{count} objects are valid")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
