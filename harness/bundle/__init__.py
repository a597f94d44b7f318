"""What is handed to an organiser: a run in one folder, signed, and verified without trust.

run folder ─ create ─▶ bundle folder ─ sign ─▶ attestation.dsse.json ─ verify ─▶ verdict

    MANIFEST.json          every file with size and sha256, and what the bundle claims
    records.jsonl          every observation, hash-chained
    scorecard.json         derived; rebuilt and compared whenever the bundle is verified
    sbom.cdx.json          the Python packages that measured (CycloneDX)
    attestation.dsse.json  signatures of an in-toto statement on the manifest and the models

Reports are not inside: they are made again from the scorecard, so that no page can say
anything else. docs/bundles.md says what a signature proves and what it cannot.
"""
