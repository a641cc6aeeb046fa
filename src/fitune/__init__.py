"""fitune: fine-tune a language model that fits your GPU, from a terminal.

The folders `core`, `tui` and `presets` lie at the top of the repository; the links beside this file make them one
package, so that an installed fitune takes no other import name than its own.
"""
