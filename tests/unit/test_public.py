"""The names that people import."""

import pytest

import profkit


def test_every_public_name_is_there():
    for name in profkit.__all__:
        assert hasattr(profkit, name), name
    assert {"profile", "load", "last", "Run", "step", "region", "ProfkitError"} <= set(profkit.__all__)
    assert set(profkit.__all__) <= set(dir(profkit))


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'profkit' has no attribute 'profil'"):
        _ = profkit.profil


def test_errors_can_be_caught_by_their_root():
    with pytest.raises(profkit.ProfkitError):
        profkit.load("/nowhere/at/all")


def test_the_version_is_a_version():
    assert [part.isdigit() for part in profkit.__version__.split(".")[:2]] == [True, True]
