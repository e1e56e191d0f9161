"""Keys of certificates in the form of OpenSSH."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from fedmx.errors import DataError
from fedmx.pki import ssh
from fedmx.pki.certificates import SITE
from fedmx.pki.signing import Subject, Validity, generate_key, sign
from tests.fedmx.pki.papers import IN_A_YEAR, LONG_AGO, credentials_of, load, make_pki


def test_a_converted_key_is_the_same_key_and_fits_the_certificate(tmp_path: Path) -> None:
    authority = make_pki(tmp_path, "north")
    certificate = load(authority.folder_of(SITE, "north") / "site.crt")
    private = load_ssh_private_key(ssh.encode_private(credentials_of(authority, "north").key), None)
    line = ssh.encode_public(certificate)
    assert line.startswith("ecdsa-sha2-nistp256 ")
    assert line.endswith(" north")
    assert private.public_key() == load_ssh_public_key(line.encode()) == certificate.public_key()


def test_a_certificate_with_a_key_of_another_kind_is_rejected(tmp_path: Path) -> None:
    authority = load(make_pki(tmp_path).folder / "authority" / "authority.crt")
    key = rsa.generate_private_key(65537, 2048).public_key()
    days = (IN_A_YEAR - LONG_AGO).days
    certificate = sign(authority, generate_key(), key, Subject(SITE, "north"), Validity(LONG_AGO, days))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="site north: not an elliptic-curve key"):
        ssh.encode_public(certificate)
