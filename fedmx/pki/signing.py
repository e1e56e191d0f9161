"""What the certificates of a federation say: made here from keys, names and days. No files."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedmx.pki.credentials import SERVER, SITE

_NEVER = datetime.max.replace(tzinfo=UTC)
_CLOCKS_DIFFER = timedelta(hours=1)
# A server's certificate also passes as a peer's, so that the server can say by name what it refuses at hello.
_USAGES = {
    SERVER: [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
    SITE: [ExtendedKeyUsageOID.CLIENT_AUTH],
}


@dataclass(frozen=True)
class Subject:
    """Whom a certificate is for.

    Attributes:
        role: `server` or `site`.
        name: of the site, or `server`.
        hosts: names and addresses by which a server is dialled.
    """

    role: str
    name: str
    hosts: Sequence[str] = ()


@dataclass(frozen=True)
class Validity:
    """From when a certificate holds, and for how many days."""

    now: datetime
    days: float


def make_key() -> ec.EllipticCurvePrivateKey:
    """Make a key, on the curve P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def pem_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Give a key as its file has it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def sign_itself(key: ec.EllipticCurvePrivateKey, common_name: str, validity: Validity) -> x509.Certificate:
    """Make the certificate of an authority, which may sign others that sign none."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    return (
        _begin(name, name, key.public_key(), validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def sign(
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    public_key: ec.EllipticCurvePublicKey,
    subject: Subject,
    validity: Validity,
) -> x509.Certificate:
    """Make a certificate of an authority; it ends with that at the latest."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, subject.role),
            x509.NameAttribute(NameOID.COMMON_NAME, subject.name),
        ]
    )
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = (
        _begin(name, authority.subject, public_key, validity, authority.not_valid_after_utc)
        .add_extension(issuer_key, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_USAGES[subject.role]), critical=False)
    )
    if subject.hosts:
        names = x509.SubjectAlternativeName([_general_name(host) for host in subject.hosts])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def hosts_in(certificate: x509.Certificate) -> set[str]:
    """Give the names and addresses that a certificate is for."""
    return {
        str(name.value)
        for extension in certificate.extensions
        if isinstance(extension.value, x509.SubjectAlternativeName)
        for name in extension.value
    }


def _begin(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    validity: Validity,
    latest: datetime = _NEVER,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity.now - _CLOCKS_DIFFER)
        .not_valid_after(min(validity.now + timedelta(days=validity.days), latest))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
