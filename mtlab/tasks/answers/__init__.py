"""Scoring answers in words: agreement with annotators, and answers that a language model generates."""
