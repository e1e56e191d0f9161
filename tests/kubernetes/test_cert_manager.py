"""Certificates as cert-manager issues them from the manifests are valid on the link."""

import ipaddress
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedmx.errors import RefusedError
from fedmx.pki.access import PeerVerifier
from fedmx.pki.certificates import REVOKED_FILE, SERVER, SITE, serial_of
from fedmx.pki.credentials import Credentials, read_credentials
from fedmx.pki.csr import check_site_name
from fedmx.pki.signing import encode_key, generate_key
from tests.bounds import HANG_S
from tests.kubernetes.manifests import Object, find_workload, read_rendered

OBJECTS = read_rendered("cert-manager")
CERTIFICATES = {each["metadata"]["name"]: each["spec"] for each in OBJECTS if each["kind"] == "Certificate"}
SITES = ("hospital-a", "hospital-b")
_USAGES = {"server auth": ExtendedKeyUsageOID.SERVER_AUTH, "client auth": ExtendedKeyUsageOID.CLIENT_AUTH}
_NOW = datetime.now(UTC)


class CertManager:
    """Issues what cert-manager 1.x would, with its issuer of the kind `ca`.

    Its subject has the organizational unit before the common name, and the extensions are those of a Go
    program: no identifier of the key for a certificate that signs no others.
    """

    def __init__(self) -> None:
        spec = CERTIFICATES["authority"]
        assert spec["isCA"]
        assert spec["issuerRef"]["name"] == "self-signed"
        self.key = generate_key()
        self.certificate = self._sign(spec, self.key, _name(spec))

    def issue(self, name: str) -> dict[str, bytes]:
        """Return the content of the Secret of a Certificate."""
        spec = CERTIFICATES[name]
        [issuer] = [each for each in OBJECTS if each["kind"] == "Issuer" and "ca" in each["spec"]]
        assert spec["issuerRef"] == {"kind": "Issuer", "name": issuer["metadata"]["name"]}
        assert issuer["spec"]["ca"]["secretName"] == CERTIFICATES["authority"]["secretName"]
        assert spec["privateKey"]["algorithm"] == "ECDSA"
        assert spec["privateKey"]["size"] == ec.SECP256R1.key_size
        key = generate_key()
        certificate = self._sign(spec, key, self.certificate.subject)
        return {
            "ca.crt": self.certificate.public_bytes(Encoding.PEM),
            "tls.crt": certificate.public_bytes(Encoding.PEM),
            "tls.key": encode_key(key),
        }

    def _sign(self, spec: Object, key: ec.EllipticCurvePrivateKey, issuer: x509.Name) -> x509.Certificate:
        is_authority = spec.get("isCA", False)
        lifetime = timedelta(hours=int(spec["duration"].removesuffix("h")))
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(spec))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # Not earlier: cert-manager does not date certificates back.
            .not_valid_before(_NOW - timedelta(seconds=1))
            .not_valid_after(_NOW + lifetime)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(_key_usage(spec["usages"]), critical=True)
        )
        if is_authority:
            identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
            builder = builder.add_extension(identifier, critical=False)
        else:
            authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            usages = [_USAGES[usage] for usage in spec["usages"] if usage in _USAGES]
            builder = builder.add_extension(authority, critical=False)
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in spec.get("dnsNames", ())]
        names += [x509.IPAddress(ipaddress.ip_address(each)) for each in spec.get("ipAddresses", ())]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key if not is_authority else key, hashes.SHA256())


def _name(spec: Object) -> x509.Name:
    units = spec.get("subject", {}).get("organizationalUnits", [])
    attributes = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, spec["commonName"])])


def _key_usage(usages: Sequence[str]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digital signature" in usages,
        key_cert_sign="cert sign" in usages,
        crl_sign="crl sign" in usages,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def mount(folder: Path, workload: str, secrets: dict[str, dict[str, bytes]]) -> Path:
    """Write what a pod finds in its folder of certificates."""
    volume = find_workload(OBJECTS, workload).volumes["certificate"]
    folder.mkdir()
    for source in volume.get("projected", {}).get("sources", [volume]):
        if secret := source.get("secret"):
            content = secrets[secret.get("secretName") or secret["name"]]
            for item in secret["items"]:
                (folder / item["path"]).write_bytes(content[item["key"]])
        else:
            [data] = [
                each["data"]
                for each in OBJECTS
                if (each["kind"], each["metadata"]["name"]) == ("ConfigMap", source["configMap"]["name"])
            ]
            for name, text in data.items():
                (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of certificates of the server and of the two sites."""
    base = tmp_path_factory.mktemp("certificates")
    manager = CertManager()
    secrets = {CERTIFICATES[name]["secretName"]: manager.issue(name) for name in ("server", *SITES)}
    found = {"server": mount(base / "server", "Job/server", secrets)}
    for site in SITES:
        found[site] = mount(base / site, f"Deployment/client-{site}", secrets)
    return found


def read(folders: dict[str, Path], name: str) -> Credentials:
    return read_credentials(folders[name], SERVER if name == "server" else SITE)


def test_every_site_of_the_overlay_has_a_certificate_with_its_name() -> None:
    sites = {each["metadata"]["labels"].get("fedmx/site") for each in OBJECTS if each["kind"] == "Deployment"}
    assert sites - {None} == set(SITES)
    for site in SITES:
        check_site_name(site)
        assert CERTIFICATES[site]["commonName"] == site


def test_both_programs_accept_their_certificates_and_the_server_identifies_each_site(
    folders: dict[str, Path],
) -> None:
    verifier = PeerVerifier(read(folders, "server"), folders["server"] / REVOKED_FILE)
    for site in SITES:
        assert verifier.identify(read(folders, site).certificate).name == site
    with pytest.raises(RefusedError, match="role 'server'"):
        verifier.identify(read(folders, "server").certificate)


def test_a_site_in_the_config_map_of_revoked_certificates_is_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    revoked = x509.load_pem_x509_certificate(read(folders, SITES[0]).certificate)
    path = tmp_path / REVOKED_FILE
    path.write_text(f"{serial_of(revoked)}\n")
    verifier = PeerVerifier(read(folders, "server"), path)
    with pytest.raises(RefusedError, match="revoked"):
        verifier.identify(read(folders, SITES[0]).certificate)
    assert verifier.identify(read(folders, SITES[1]).certificate).name == SITES[1]


def test_server_and_client_connect_by_mutual_tls_at_the_name_of_the_service(
    folders: dict[str, Path],
) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port("127.0.0.1:0", read(folders, "server").for_server())
    server.start()
    options = [("grpc.ssl_target_name_override", "server")]
    with grpc.secure_channel(f"127.0.0.1:{port}", read(folders, SITES[0]).for_node(), options) as channel:
        grpc.channel_ready_future(channel).result(HANG_S)
    server.stop(None).wait(HANG_S)
