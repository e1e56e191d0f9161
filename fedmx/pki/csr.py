"""A site's request for a certificate: created where the site's key stays, parsed where the authority is."""

import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fedmx.errors import DataError, SettingsError
from fedmx.files import atomic_write, disk_errors
from fedmx.pki import credentials, signing

_SITE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def check_site_name(name: str) -> None:
    """Check that a text may be a site's name: the part of a node's name before the first dot.

    Raises:
        SettingsError: it may not.
    """
    if _SITE_NAME.fullmatch(name) is None:
        raise SettingsError(
            f"site {name[:80]!r}: invalid name; expected at most 32 lowercase letters, digits and '-', and no"
            " '-' at an end"
        )


def make(name: str, folder: Path) -> Path:
    """Generate a site's own key, and the request that its federation's authority signs.

    Raises:
        SettingsError: the name may not be a site's.
        DataError: a key is there already, or the disk does not take it.
    """
    check_site_name(name)
    key_path, path = folder / "site.key", folder / f"{name}.csr"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        is_taken = key_path.exists()
    if is_taken:
        raise DataError(f"{key_path}: a key is there already; expected a folder without one (CERTS_DIR)")
    key = signing.make_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    # The key last: a folder with one has its request, too.
    with atomic_write(path, 0o644) as file:
        file.write(request.public_bytes(Encoding.PEM))
    with atomic_write(key_path, 0o600) as file:
        file.write(signing.pem_of_key(key))
    return path


def read_for(site: str, data: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key of a site's request.

    Args:
        site: where the request has to come from.
        data: PEM.

    Raises:
        DataError: it is not a valid request, has a key of another kind, or comes from another site.
        SettingsError: its name may not be a site's.
    """
    name, key = read(data)
    if name != site:
        raise DataError(f"the request: from site {name}; expected one from site {site}")
    return key


def read(data: bytes) -> tuple[str, ec.EllipticCurvePublicKey]:
    """Return the name that a request asks for, and its key.

    Args:
        data: PEM.

    Raises:
        DataError: it is not a valid request, was altered, or has a key of another kind.
        SettingsError: its name may not be a site's.
    """
    try:
        request = x509.load_pem_x509_csr(data)
        is_whole = request.is_signature_valid
        names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        key = request.public_key()
    except credentials.UNREADABLE:
        is_whole = False
    if not is_whole:
        raise DataError(
            "the request: not a valid PEM certificate request; create one with `python -m client pki request`"
        )
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise DataError("the request: its key is of another kind; expected one on the curve P-256")
    name = str(names[0].value) if len(names) == 1 else ""
    check_site_name(name)
    return name, key
