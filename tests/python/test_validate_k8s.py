"""Each check of validate_k8s.py finds the fault that it is for."""

import ast
import pathlib
import re
import shutil
import sys
import tempfile
import unittest
from unittest import mock

import validate_k8s
from validate_k8s import FOLDER, Findings, check

SOURCE = pathlib.Path(validate_k8s.__file__)
BASE, DEV, PRODUCTION = "base/kustomization.yaml", "overlays/dev/kustomization.yaml", "overlays/production/kustomization.yaml"
AUTH, CONFIG, POLICIES = "base/auth.yaml", "base/config.toml", "base/networkpolicy.yaml"

#: A fault: the file, a pattern whose first match is replaced, the replacement, and a part of the finding.
FAULTS = [
    (DEV, "kind: Kustomization", "kind: Kustomisation", "kind is not Kustomization"),
    (BASE, "users.yaml", "people.yaml", "names people.yaml, which does not exist"),
    (BASE, "  - networkpolicy.yaml\n", "", "does not name networkpolicy.yaml"),
    (BASE, r"\Z", "secretGenerator: []\n", "secrets do not belong in the repository"),
    (AUTH, r"\Z", "---\nkind: Secret\nmetadata: {name: key}\n", "Secret key: secrets do not belong"),
    (PRODUCTION, "name: gateway-ingress", "name: gateway-egress", "patches no"),
    (DEV, "op: add", "op: remove", "understands no remove"),
    (AUTH, "(template:.*?part-of: )trellis", r"\1other", "auth: pods are not part of trellis"),
    (AUTH, "(selector:\n    matchLabels:\n      app.kubernetes.io/name: )auth", r"\1other", "selector does not match the pods"),
    (AUTH, "maxUnavailable: 0", "maxUnavailable: 1", "updates below its replicas"),
    (AUTH, "maxSurge: 1", "maxSurge: 0", "updates below its replicas"),
    (AUTH, "PeriodSeconds: 40", "PeriodSeconds: 25", "is killed before the 25 s of a shutdown are over"),
    (AUTH, "ServiceAccountToken: false", "ServiceAccountToken: true", "mounts a service account token"),
    (AUTH, "runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
    (AUTH, "type: RuntimeDefault", "type: Unconfined", "has no seccomp profile"),
    (AUTH, "(topologySpreadConstraints:).*?(?=      initContainers)", r"\1 []\n", "auth: has no topologySpreadConstraints"),
    (AUTH, "defaultMode: 0400", "defaultMode: 0644", "identity is not 0400"),
    (AUTH, "image: trellis", "image: other", "migrate: does not use the image trellis"),
    (AUTH, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "has a writable root filesystem"),
    (AUTH, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "may gain privileges"),
    (AUTH, "drop: \\[ALL\\]", "drop: [NET_RAW]", "does not drop all capabilities"),
    (AUTH, "limits:\n *memory: 128Mi", "", "migrate: has no resource requests and limits"),
    (AUTH, "name: config\n( *mountPath)", r"name: settings\n\1", "mounts settings, which is not a volume"),
    (AUTH, "- name: TRELLIS_CONFIG\n", r"- {name: SMTP_PASSWORD, value: x}\n            \g<0>", "SMTP_PASSWORD is a secret in plain text"),
    (CONFIG, 'settle = "5s"', 'settle = "2s"', "settles for 2 s, but others notice only after 2 s"),
    (AUTH, "args: \\[auth\\]", r"\g<0>\n          lifecycle: {}", "has a lifecycle hook"),
    (AUTH, "args: \\[auth\\]", "args: [users]", "does not run the part that it is named after"),
    (AUTH, "startupProbe", "startProbe", "has no startupProbe"),
    (AUTH, "(livenessProbe:.*?path: /)livez", r"\1readyz", "has another liveness path than /livez"),
    ("base/users.yaml", "apiVersion: apps/v1.*?---\n", "", "Deployments: are ["),
    (CONFIG, "0.0.0.0:7001", "0.0.0.0:7009", "users: does not listen on the port in config.toml"),
    (CONFIG, "0.0.0.0:9090", "0.0.0.0:9091", "has another admin port"),
    (AUTH, "(selector:\n    app.kubernetes.io/name: )auth", r"\1other", "selects no pods of its name"),
    (AUTH, "targetPort: grpc", "targetPort: http", "targets a port that pods do not have"),
    (CONFIG, "insecure = true", "insecure = false", "tls.insecure: is not set, although the links have no TLS"),
    (CONFIG, "http://users:7001", "http://users:7009", "peers.users: is not a Service"),
    (AUTH, "---\napiVersion: policy/v1.*", "", "PodDisruptionBudgets: are ["),
    (AUTH, "(maxUnavailable: 1\n.*?name: )auth", r"\1other", "does not protect the pods of its name"),
    (AUTH, "maxUnavailable: 1", "maxUnavailable: 2", "does not allow one unavailable pod"),
    (POLICIES, "part-of: trellis", "part-of: other", "does not deny all traffic by default"),
    (POLICIES, "policyTypes", "ingress: [{}]\n  policyTypes", "does not deny all traffic by default"),
    (AUTH, "memory: 512Mi", "memory: 128Mi", "128 MiB fit 3 concurrent password hashes; at least 4 are needed"),
    (CONFIG, "\\[auth\\]\n", r"\g<0>hashing_threads = 14\n", "hashes 14 passwords concurrently, but has memory for 13"),
    ("base/gateway.yaml", "memory: 512Mi", "memory: 256Mi", "256 MiB do not hold a burst of 4096 unread responses: 384 MiB"),
    (CONFIG, "33_554_432", "134_217_728", "512 MiB do not hold a burst of 4096 unread responses: 576 MiB"),
    (CONFIG, "share = 0.5", "share = 1.0", "base: gateway.yaml: Deployment gateway: limiter.share 1.0 is not one divided by 2"),
    (CONFIG, "share = 0.5", "share = 0.4", "base: auth.yaml: Deployment auth: limiter.share 0.4 is not one divided by 2"),
    (PRODUCTION, "0.333", "0.5", "production: auth.yaml: Deployment auth: limiter.share 0.5 is not one divided by 3 replicas"),
    (CONFIG, "trusted_proxies = \\[\\]", 'trusted_proxies = ["10.0.0.0/8"]', "base: gateway.yaml: Deployment gateway: trusts proxies, but any client can connect"),
    (PRODUCTION, "TRELLIS_GATEWAY__TRUSTED_PROXIES", "TRELLIS_OTHER", "all users share one address"),
    (POLICIES, "port: 4317", "port: 4318", "cannot export traces to port 4317"),
    (POLICIES, "port: 6379", "port: 6380", "cannot reach Redis"),
    (POLICIES, "port: 5432", "port: 5433", "base: auth: cannot reach its database"),
    (POLICIES, "endPort: 7099", "endPort: 7002", "base: gateway: cannot reach messaging on port 7003"),
    (POLICIES, "trellis/upstream", "trellis/other", "gateway: cannot reach external upstreams"),
]


class Traced(Findings):
    """Findings, and the lines of the checks that made them."""

    def __init__(self):
        super().__init__()
        self.lines = set()

    def append(self, finding):
        super().append(finding)
        frame = sys._getframe(1)
        self.lines.add((frame.f_back if frame.f_code.co_name == "expect" else frame).f_lineno)


def checks():
    """The lines of all checks in the source."""
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("expect", "append"):
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "findings":
                yield range(node.lineno, node.end_lineno + 1)


class EachCheck(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "k8s"

    def with_fault(self, file, pattern, replacement):
        """The findings for the manifests with one fault."""
        shutil.copytree(FOLDER, self.folder)
        text, count = re.subn(pattern, replacement, (self.folder / file).read_text(), count=1, flags=re.DOTALL)
        self.assertEqual(count, 1, f"{file} does not contain {pattern}")
        (self.folder / file).write_text(text)
        findings = Traced()
        check(self.folder, findings)
        shutil.rmtree(self.folder)
        return findings

    def test_manifests_have_no_fault(self):
        findings = Findings()
        check(FOLDER, findings)
        self.assertEqual(findings, [])

    def test_each_check_finds_its_fault(self):
        lines = set()
        # Checking the schemas takes most of the time; the next test covers it.
        with mock.patch.object(validate_k8s, "schema"):
            for file, pattern, replacement, expected in FAULTS:
                with self.subTest(expected):
                    findings = self.with_fault(file, pattern, replacement)
                    self.assertTrue(any(expected in finding for finding in findings), findings)
                    lines |= findings.lines
        found = self.with_fault(AUTH, "enableServiceLinks: false", "enableServiceLink: false")
        self.assertTrue(any("'enableServiceLink' was unexpected" in finding for finding in found), found)
        lines |= found.lines
        unused = [lines_of_check for lines_of_check in checks() if not lines & set(lines_of_check)]
        self.assertEqual(unused, [], "every check of validate_k8s.py has a fault in FAULTS")


if __name__ == "__main__":
    unittest.main()
