"""A program that uses Logfire: python logfire_sender.py URL. Says when its span runs; ends it at a line of input."""

import sys

import logfire

logfire.configure(
    token="pylf_v1_us_for_tests",
    send_to_logfire=True,
    console=False,
    inspect_arguments=False,
    advanced=logfire.AdvancedOptions(base_url=sys.argv[1]),
)
with logfire.span("runs", question="why"):
    logfire.force_flush()
    print("running", flush=True)
    sys.stdin.readline()
logfire.force_flush()
print("ended", flush=True)
