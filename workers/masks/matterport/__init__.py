"""Mask R-CNN in Matterport's arrangement, with the weights that its authors published."""
