"""Keys of certificates in the form of OpenSSH, in which Flower's SuperNodes and SuperLink read them."""

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from fedmx.errors import DataError
from fedmx.pki.certificates import name_of


def encode_private(pem: bytes) -> bytes:
    """Return a private key in the form that `flower-supernode --auth-supernode-private-key` reads.

    Args:
        pem: the key of a site, PEM without a password.
    """
    key = load_pem_private_key(pem, password=None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def encode_public(certificate: x509.Certificate) -> str:
    """Return the public key of a site's certificate as the line that `flwr supernode register` reads.

    Raises:
        DataError: the key is not of a kind that Flower registers.
    """
    key = certificate.public_key()
    name = name_of(certificate)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise DataError(f"the certificate of site {name}: not an elliptic-curve key; expected one on P-256")
    return f"{key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()} {name}"
