"""A site's certificate signing request: created where the site's key stays, parsed where the authority is."""

import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fedmx.errors import DataError, SettingsError
from fedmx.files import atomic_write, disk_errors
from fedmx.pki import signing
from fedmx.pki.certificates import UNREADABLE

_SITE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def check_site_name(name: str) -> None:
    """Check that a name is valid for a site: it is the part of a node's name before the first dot.

    Raises:
        SettingsError: it is not.
    """
    if _SITE_NAME.fullmatch(name) is None:
        raise SettingsError(
            f"site {name[:80]!r}: invalid name; expected at most 32 lowercase letters, digits and '-', and no"
            " '-' at either end"
        )


def create(name: str, folder: Path) -> Path:
    """Generate a site's own key, and the request that its federation's authority signs.

    Returns:
        The file of the request.

    Raises:
        SettingsError: the name is not valid for a site.
        DataError: a key exists already, or the files cannot be written.
    """
    check_site_name(name)
    key_path, path = folder / "site.key", folder / f"{name}.csr"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        has_key = key_path.exists()
    if has_key:
        raise DataError(f"{key_path}: a key exists already; expected a folder without one (CERTS_DIR)")
    key = signing.generate_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    # The key is written last, so that a folder with a key has its request as well.
    with atomic_write(path, 0o644) as file:
        file.write(request.public_bytes(Encoding.PEM))
    with atomic_write(key_path, 0o600) as file:
        file.write(signing.encode_key(key))
    return path


def read_for(site: str, data: bytes) -> ec.EllipticCurvePublicKey:
    """Return the public key of a site's request.

    Args:
        site: the site that it must come from.
        data: the request, PEM.

    Raises:
        DataError: it is not a valid request, has an unsupported kind of key, or comes from another site.
        SettingsError: its name is not valid for a site.
    """
    name, key = read(data)
    if name != site:
        raise DataError(f"the request: from site {name}; expected one from site {site}")
    return key


def read(data: bytes) -> tuple[str, ec.EllipticCurvePublicKey]:
    """Return the name and the public key of a request.

    Args:
        data: the request, PEM.

    Raises:
        DataError: it is not a valid request, or has an unsupported kind of key.
        SettingsError: its name is not valid for a site.
    """
    try:
        request = x509.load_pem_x509_csr(data)
        is_valid = request.is_signature_valid
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = request.public_key()
    except UNREADABLE:
        is_valid = False
    if not is_valid:
        raise DataError(
            "the request: not a valid PEM certificate request; create one with `python -m client pki request`"
        )
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise DataError("the request: unsupported kind of key; expected one on the curve P-256")
    name = str(names[0].value) if len(names) == 1 else ""
    check_site_name(name)
    return name, key
