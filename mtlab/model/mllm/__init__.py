"""An image-text-to-text model of transformers whose language model draws on vision levels through managers."""
