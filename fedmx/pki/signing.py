"""Building and signing the certificates of a federation from keys, names and days. No files."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedmx.pki.certificates import SERVER, SITE

_NEVER = datetime.max.replace(tzinfo=UTC)
# Certificates are valid from an hour before they are issued, for machines whose clocks are behind.
_BACKDATED = timedelta(hours=1)
# A server's certificate is accepted as a client's by TLS, so that hello can refuse it with a reason.
_USAGES = {
    SERVER: [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
    SITE: [ExtendedKeyUsageOID.CLIENT_AUTH],
}


@dataclass(frozen=True)
class Subject:
    """The subject of a certificate.

    Attributes:
        role: `server` or `site`.
        name: name of the site, or `server`.
        hosts: names and addresses by which clients connect to a server.
    """

    role: str
    name: str
    hosts: Sequence[str] = ()


@dataclass(frozen=True)
class Validity:
    """When a certificate is issued, and for how many days it is valid."""

    now: datetime
    days: float


def generate_key() -> ec.EllipticCurvePrivateKey:
    """Generate a key on the curve P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def encode_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Encode a key as PEM (PKCS #8, without a password)."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def self_sign(key: ec.EllipticCurvePrivateKey, common_name: str, validity: Validity) -> x509.Certificate:
    """Build the self-signed certificate of an authority, which may not sign other authorities."""
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
    """Build a certificate signed by an authority; it expires no later than the authority."""
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


def hosts_in(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the names and addresses that a certificate is valid for, sorted."""
    hosts = {
        str(name.value)
        for extension in certificate.extensions
        if isinstance(extension.value, x509.SubjectAlternativeName)
        for name in extension.value
    }
    return tuple(sorted(hosts))


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
        .not_valid_before(validity.now - _BACKDATED)
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
