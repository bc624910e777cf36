"""Conformance to RFC 6455 and RFC 7692, by Autobahn|Testsuite; ``make compliance`` runs it."""
