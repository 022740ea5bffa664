"""llama.cpp behind a narrow door: the only package that imports llama_cpp. Import it after `library.select`.

Every call here belongs to the engine thread (the OpenMP team of a second thread would fight the first for the
cores), but for the tokeniser, which only reads the vocabulary.
"""
