"""convert a pytorch-lightning checkpoint of MSDM, executing nothing of it"""

from argparse import ArgumentParser, Namespace


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the .ckpt file")
    parser.add_argument("out", metavar="OUT", help="the .safetensors file to write; its manifest goes beside it")
    parser.add_argument("--stem", help="of a weakly supervised model: the one stem that it knows")


def run(options: Namespace) -> int:
    from gmsdi import checkpoint, lightning

    weights, manifest = lightning.to_checkpoint(lightning.read_lightning(options.file), options.stem)
    checkpoint.save(options.out, weights, manifest)
    print(f"wrote {options.out}: {manifest.kind}, {sum(tensor.numel() for tensor in weights.values()):,} parameters")
    return 0
