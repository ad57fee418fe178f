from unfreeze.cli import main

if __name__ == "__main__":  # data-loading processes import this file again where they cannot fork
    raise SystemExit(main(command="train", program="train.py"))
