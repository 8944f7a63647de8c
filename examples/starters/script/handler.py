"""Tell the language of a text by its small words: a program that loads, then answers one request after the other.

{"text": "the cat and the dog"}  ->  {"language": "English", "words": 3}
"""

from __future__ import annotations

import instainfer

# What is before the first `receive` is done once: imports, and loading the model.
SMALL_WORDS = {
    "English": {"the", "and", "of", "to", "is", "in"},
    "French": {"le", "la", "et", "les", "des", "est"},
    "German": {"der", "die", "und", "das", "ist", "den"},
}

while True:
    request = instainfer.receive()
    words = str(request.get("text", "")).lower().split()
    found = {language: sum(word in small for word in words) for language, small in SMALL_WORDS.items()}
    language = max(found, key=lambda name: found[name])
    print("looked at", len(words), "words")  # goes to `instainfer logs`
    instainfer.reply({"language": language if found[language] else None, "words": found[language]})
