"""Pairs of products that saturate on x86 without VNNI, found and counted."""
