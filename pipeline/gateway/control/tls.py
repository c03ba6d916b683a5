"""Certificates and keys that owners hand in for their endpoints: can they be used as they are?"""

from pipeline.endpoint_tls import TlsIdentity, find_identity_problem, find_pem_problem


def find_tls_problems(ca_pem: str | None, cert_pem: str | None, key_pem: str | None) -> dict[str, str]:
    """Field → its problem; empty when all is well. Uses the code that will load them for deliveries."""
    problems: dict[str, str] = {}
    for field, pem in (("tls_ca_pem", ca_pem), ("tls_client_cert_pem", cert_pem)):
        problem = find_pem_problem(pem) if pem is not None else None
        if problem is not None:
            problems[field] = problem
    if key_pem is None or "tls_client_cert_pem" in problems:
        return problems
    if cert_pem is None:
        problems["tls_client_key_pem"] = "a key needs its certificate beside it"
    elif find_identity_problem(TlsIdentity(certificate_pem=cert_pem, key_pem=key_pem)) is not None:
        problems["tls_client_key_pem"] = "it must be the certificate's private key in PEM, without a password"
    return problems
