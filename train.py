from unfreeze.cli import main

raise SystemExit(main(["train"], program="train.py"))
