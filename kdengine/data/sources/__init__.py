"""From what people have (folders, archives, published files) to images and labels."""
