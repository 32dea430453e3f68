"""What can go wrong on the way from a user's files to the server and back, told apart by type.

* BgeM3Error
  + InvalidInputError
    - InputFileError         an input file cannot be read
    - RejectedLineError      a line holds no text that can be encoded
    - CorpusMismatchError    a folder was begun with other inputs, options or another model
    - UnreadableDocumentError  a document cannot be read; the others can
    - ConditionError         a condition cannot be read; `position` says where
    - CollectionNotFoundError  the store has no collection of that name
      + EmptyStoreError        it has none at all
    - CollectionExistsError    the store has one already
    - CollectionMismatchError  a collection was made for something else
      + OptionsMismatchError   with other options: `has`, `asked`
      + ModelMismatchError     for another model
    - ForeignCollectionError   a collection was not made by this project
  + StoreError               the store failed, or cannot be reached
  + OutputError              the output cannot be written
  + CollectionFetchError     a collection cannot be fetched from its hub
  + MissingLibraryError      an optional library is not installed
  + ClusterError             the Ray cluster cannot be reached, or its workers fail
  + ServerError
    - ModelChangedError      the server began to answer with another version of the model
"""

from __future__ import annotations

from collections.abc import Mapping

from bgem3_client.errors import BgeM3Error, InvalidInputError, ServerError


class InputFileError(InvalidInputError):
    """An input file cannot be read, or not to its end."""


class RejectedLineError(InvalidInputError):
    """A line holds no text that can be encoded, and the caller asked to stop at the first one."""


class CorpusMismatchError(InvalidInputError):
    """A folder of shards was begun with other inputs or options, or by another model."""


class OutputError(BgeM3Error):
    """The output cannot be written: no such folder, no permission, no space."""


class CollectionFetchError(BgeM3Error):
    """A collection cannot be fetched from its hub, or not now."""


class MissingLibraryError(BgeM3Error):
    """An optional library is not installed; the message says how to install it."""


class ClusterError(BgeM3Error):
    """The Ray cluster cannot be reached, or its workers die one after the other."""


class ModelChangedError(ServerError):
    """The server began to answer with another version of the model in the middle of the work."""


class UnreadableDocumentError(InvalidInputError):
    """A document cannot be read: damaged, encrypted, of another format, too large.

    Attributes:
        source: The file's name.
        reason: What is wrong with it, without the name.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


class ConditionError(InvalidInputError):
    """What should be a condition is none.

    Attributes:
        position: Where in it the mistake is, in characters from 0.
        index: Which of several it is, where the caller knows.
    """

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class CollectionNotFoundError(InvalidInputError):
    """The store has no collection of that name."""


class EmptyStoreError(CollectionNotFoundError):
    """The store has no collection at all."""


class CollectionExistsError(InvalidInputError):
    """The store has a collection of that name already."""


class CollectionMismatchError(InvalidInputError):
    """A collection was made for another model or with other options: they do not go together."""


class OptionsMismatchError(CollectionMismatchError):
    """A collection was made with other options than those asked for.

    Attributes:
        collection: Its name.
        has: Those options that differ, by name, as the collection has them.
        asked: The same, as they were asked for.
    """

    def __init__(
        self, collection: str, has: Mapping[str, object], asked: Mapping[str, object]
    ) -> None:
        made = ", ".join(f"{name} {value}" for name, value in has.items())
        wanted = ", ".join(f"{name} {value}" for name, value in asked.items())
        super().__init__(f"collection {collection!r} was made with {made}, not with {wanted}")
        self.collection = collection
        self.has = has
        self.asked = asked


class ModelMismatchError(CollectionMismatchError):
    """A collection was made for another model than the one that is served.

    Attributes:
        collection: Its name.
    """

    def __init__(self, collection: str, difference: str) -> None:
        """Make one.

        Args:
            collection: Its name.
            difference: What the collection has, and what the server: the sentence's rest.
        """
        super().__init__(
            f"collection {collection!r} {difference}: vectors of two models do not go together"
        )
        self.collection = collection


class ForeignCollectionError(InvalidInputError):
    """A collection was made by something else, and is left alone."""


class StoreError(BgeM3Error):
    """The store failed, or cannot be reached; what was asked of it may be fine."""
