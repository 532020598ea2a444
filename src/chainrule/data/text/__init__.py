"""Text: files, tokenizers, vocabularies, windows for language models, labelled texts."""

from chainrule.data.text.base import Tokenizer
from chainrule.data.text.bucketed import Bucketed
from chainrule.data.text.files import read_text, text_files, text_pieces
from chainrule.data.text.labelled import LabelledTexts, text_csv, text_folder
from chainrule.data.text.padding import (
    Bucket,
    BucketBatch,
    bucket_batches,
    length_buckets,
    pad_sequences,
)
from chainrule.data.text.shakespeare import shakespeare
from chainrule.data.text.stored import tokenizer_from_json
from chainrule.data.text.streaming import token_file
from chainrule.data.text.subwords import SubwordTokenizer
from chainrule.data.text.tokenizers import ByteTokenizer, CharacterTokenizer, WordTokenizer
from chainrule.data.text.vocabulary import Vocabulary
from chainrule.data.text.windows import TokenWindows, random_windows, strided_windows

__all__ = [
    "Bucket",
    "BucketBatch",
    "Bucketed",
    "ByteTokenizer",
    "CharacterTokenizer",
    "LabelledTexts",
    "SubwordTokenizer",
    "TokenWindows",
    "Tokenizer",
    "Vocabulary",
    "WordTokenizer",
    "bucket_batches",
    "length_buckets",
    "pad_sequences",
    "random_windows",
    "read_text",
    "shakespeare",
    "strided_windows",
    "text_csv",
    "text_files",
    "text_folder",
    "text_pieces",
    "token_file",
    "tokenizer_from_json",
]
